"""``--tune``: a search on validation within a run's folder, whose best settings train the run.

The search is a sweep by ASHA over ``tuning/<Model>.yaml``, always under ``holdout``: with ``refit``
and ``published`` its best settings are then trained by the run's own protocol. The test set is read
by the run alone. ``tune.json`` holds what was asked for, and, after the search, what it found.
"""

import json
import logging
from pathlib import Path

from recbole_hill import pipeline
from recbole_hill.config.units import parse_duration
from recbole_hill.experiments.sweep.sweep import require_ray, run_sweep
from recbole_hill.run import folder as runs
from recbole_hill.run.files import atomic_path
from recbole_hill.run.hashes import add_hashes
from recbole_hill.run.own_files import read_json
from recbole_hill.train.open_run import settings_of

_TUNE = "tune.json"
_SWEEP = "sweep"
#: Trials of a search that is bounded by its time.
_MOST_TRIALS = 200


def run_tuned(
    model: str,
    dataset: str,
    tune: str | int,
    *,
    config_files: list[str] | None = None,
    overrides: dict | None = None,
    echo: bool = True,
) -> pipeline.Result:
    """Searches settings on validation, then runs the model with the best of them.

    Args:
        model: A registered model.
        dataset: A dataset that RecBole ships or ``prepare`` wrote.
        tune: Number of trials, or the search's time, like ``30m``.
        config_files: YAML files, which win over the defaults.
        overrides: Settings, which win over the files. One that is searched is not searched then.
        echo: Whether progress and log are shown; if not, the log's warnings are.

    Returns:
        The run; its rows have the search as ``tune``.

    Raises:
        ImportError: If Ray is not installed; the error names the extra.
        ValueError: If a setting or ``tune`` does not fit, or no trial finished.
    """
    require_ray()
    _budget(tune)
    folder = runs.folder_of(settings_of(model, dataset, config_files, overrides, None))
    with runs.nothing_left(folder, {*runs.NOTES, _TUNE}):
        runs.claim(folder)
        _ask(
            folder,
            {
                "model": model,
                "dataset": dataset,
                "tune": str(tune),
                "config_files": [str(Path(file).absolute()) for file in config_files or ()],
                "overrides": {**(overrides or {}), "run_dir": str(folder)},
            },
        )
        return resume_tuned(folder, echo=echo)


def _ask(folder: Path, asked: dict) -> None:
    """Writes what is asked for, or refuses a folder with another search."""
    if not is_tuned(folder):
        _write(folder, {"asked": asked})
        return
    asked, before = json.loads(json.dumps(asked)), _read(folder)["asked"]
    for key, value in asked.items():
        if value != before[key]:
            raise ValueError(
                f"run_dir {folder} holds a search with {key} {before[key]!r}, not {value!r}; "
                f"continue it with --resume={folder}, or give another run_dir"
            )


def is_tuned(folder: str | Path) -> bool:
    """Returns whether a folder is of a run with a search."""
    return Path(folder, _TUNE).is_file()


def resume_tuned(
    folder: str | Path, overrides: dict | None = None, *, echo: bool = True
) -> pipeline.Result:
    """Continues the search or the run in a folder of :func:`run_tuned`.

    A search that is continued keeps its finished trials, and has its whole time again.

    Args:
        folder: The run's folder.
        overrides: Settings that a resumed run may have otherwise; they count after the search.
        echo: Whether progress and log are shown; if not, the log's warnings are.
    """
    folder = Path(folder)
    state = _read(folder)
    if "found" not in state:
        with runs.named_when_stopped(folder):
            state["found"] = _search(folder, **state["asked"], echo=echo)
        _write(folder, state)
    found, asked = state["found"], state["asked"]
    if (folder / runs.CONFIG).is_file():
        result = pipeline.run(resume=str(folder), overrides=overrides, echo=echo)
    else:
        result = pipeline.run(
            asked["model"],
            asked["dataset"],
            config_files=asked["config_files"],
            overrides={**asked["overrides"], **found["settings"], **(overrides or {})},
            echo=echo,
        )
    rows = [{**row, "tune": found} for row in result.rows]
    runs.write_rows(folder, rows)
    add_hashes(folder, [runs.ROWS])
    return pipeline.Result(folder, rows, result.stages)


def _search(
    folder: Path, model: str, dataset: str, tune: str, config_files, overrides, echo: bool
) -> dict:
    """Returns the best settings, their validation score, and what the search took."""
    shared = {key: value for key, value in overrides.items() if key != "run_dir"}
    runs.start_log(folder, shared.get("state", "INFO"), echo=echo)
    logging.getLogger().info(f"tune: if it is stopped, it goes on with --resume={folder}")
    result = run_sweep(
        model,
        dataset,
        **_budget(tune),
        output=folder / _SWEEP,
        overrides=shared | {"protocol": "holdout"},
        config_files=config_files,
        test=False,
        show=echo,
    )
    best = result.best
    logging.getLogger().info(
        f"tune: {best['settings']} of {result.budget['trials']} trials, "
        f"validation {result.valid_metric} {best['score']:.4f}"
    )
    return {"settings": best["settings"], "score": best["score"], **result.budget}


def _budget(tune: str | int) -> dict:
    """Returns ``trials`` and ``time_budget`` of a sweep."""
    text = str(tune).strip()
    if text.isdecimal() and int(text) >= 1:
        return {"trials": int(text)}
    if text.isdecimal():
        raise ValueError(f"tune must be a number of trials like 20, or a time like 30m, got {text}")
    return {"trials": _MOST_TRIALS, "time_budget": f"{parse_duration(text, 'tune')}s"}


def _read(folder: Path) -> dict:
    return read_json(folder / _TUNE, asked=dict)


def _write(folder: Path, state: dict) -> None:
    with atomic_path(folder / _TUNE) as temporary:
        temporary.write_text(json.dumps(state, indent=1), encoding="utf-8")
