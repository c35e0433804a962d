"""Trains a model on data: the command ``run`` as a function."""

from pathlib import Path

from recbole_hill.api.dataset import Dataset, as_dataset
from recbole_hill.api.models import name_of, require_importable
from recbole_hill.api.quiet import quietly
from recbole_hill.api.run import Run


def fit(
    model: str | type,
    data: Dataset | str,
    *,
    split: str | None = None,
    protocol: str = "holdout",
    seed: int = 2020,
    tune: str | int | None = None,
    run_dir: str | Path | None = None,
    verbose: bool = False,
    **settings,
) -> Run:
    """Trains, indexes, adapts and tests a model.

    Args:
        model: A name that :func:`recbole_hill.models` lists, or a class of one's own.
        data: The dataset, or the name of one in ``dataset/``.
        split: How rows become train, validation and test: ``random``, ``leave_one_out``,
            ``time_per_user``, ``global_time``, ``cold_users``, ``cold_items`` or ``fixed``; None:
            the dataset's own.
        protocol: ``holdout`` | ``refit`` | ``published``: the rule by which numbers are made.
        seed: Seed of the weights and of the training.
        tune: Searches settings on validation first, as ``--tune`` does (needs Ray): a number of
            trials, or the search's time, like ``"30m"``; None: no search. The run is trained with
            the best of them, and ``records`` has them as ``tune``. Settings that are given here are
            not searched.
        run_dir: The run's folder; None: a new one in ``saved/``.
        verbose: Whether the log and a bar per epoch are shown. The run's ``run.log`` has the log in
            any case, and the run has what it warns of.
        **settings: Any setting of RecBole, of the model or of its backbone.

    Returns:
        The finished run.

    Raises:
        ImportError: If ``tune`` is given and Ray is not installed; the message names the extra.
        ValueError: If a name, a setting or the data do not fit. The message names it.
    """
    name, data = name_of(model), as_dataset(data)
    settings |= {"protocol": protocol, "seed": seed, **data.settings}
    settings |= {} if split is None else {"split": split}
    settings |= {} if run_dir is None else {"run_dir": str(run_dir)}
    settings.setdefault("show_progress", verbose)
    if tune is not None:
        require_importable(name, f"tune {tune}", "a run without it")
    with quietly():
        from recbole_hill import pipeline
        from recbole_hill.experiments.sweep.tuned_run import run_tuned

        if tune is None:
            result = pipeline.run(name, data.name, overrides=settings, echo=verbose)
        else:
            result = run_tuned(name, data.name, tune, overrides=settings, echo=verbose)
        return Run(result.folder)
