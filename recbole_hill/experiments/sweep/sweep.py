"""Sweeps: settings are chosen on validation, and only the winner is tested, once.

All settings are drawn before the first trial, and ``trials.jsonl`` records the trials that ended,
so that a sweep goes on after any kill; ASHA's rungs then begin anew.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from recbole_hill import pipeline, plugins, registry
from recbole_hill.checks import one_of
from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.config.dialect import dump_settings, written_setting
from recbole_hill.config.units import parse_duration
from recbole_hill.data.auto import Size, largest_rank, rank_setting
from recbole_hill.data.splits import load_data, require_files
from recbole_hill.experiments.sweep.space import Space
from recbole_hill.experiments.sweep.trial import Trials, best_trial, remove_weights, trial_id
from recbole_hill.host.optional import require
from recbole_hill.run import folder as runs
from recbole_hill.run.files import atomic_path
from recbole_hill.run.hashes import add_hashes, require_unchanged
from recbole_hill.run.jsonl import rows_of
from recbole_hill.run.ledger import DONE, FAILED, STOPPED, Ledger, trial_fault
from recbole_hill.run.own_files import read_yaml
from recbole_hill.run.provenance import commit

STRATEGIES = ("asha", "random", "grid")
BEST = "best.yaml"
SWEEP, LOCK = "sweep.yaml", ".lock"
TRIALS = "trials.jsonl"

_DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
        folder: The sweep's folder: ``trials.jsonl``, ``best.yaml``, ``rows.jsonl``, ``trials/``.
        valid_metric: The metric that the trials were compared by.
        trials: The trials' records as in ``trials.jsonl``, best first, failed ones last.
        best: The winner's record.
        rows: The winner's rows; each has the budget as ``sweep``, beside its metrics.
        budget: ``trials``, ``done``, ``stopped``, ``failed``, ``unfinished``, ``hours`` of training
            and ``test_readings``.
        command: The command that runs the best settings anew.
    """

    folder: Path
    valid_metric: str
    trials: list[dict]
    best: dict
    rows: list[dict]
    budget: dict
    command: str


def run_sweep(
    model: str,
    dataset: str,
    *,
    space: dict | str | Path | None = None,
    strategy: str = "asha",
    trials: int | None = None,
    time_budget: float | str | None = None,
    jobs: int = 1,
    ray_address: str | None = None,
    output: str | Path | None = None,
    overrides: dict | None = None,
    config_files: list[str] | None = None,
    seed: int = 2020,
    test: bool = True,
    show: bool = True,
) -> SweepResult:
    """Tries settings on validation, and tests the best of them once.

    Another call with the same ``output`` skips the trials that ended, resumes the killed ones and
    runs the rest; its ``trials`` may be more.

    Args:
        model: A registered model.
        dataset: A dataset that RecBole ships or ``prepare`` wrote.
        space: The settings to search: a file or its values; None is ``tuning/<model>.yaml``.
        strategy: ``grid`` (every combination), ``random`` or ``asha`` (random, and trials whose
            validation lags behind are stopped early).
        trials: Number of trials for random and asha (20); a grid runs all of its cells.
        time_budget: Time after which no trial goes on: seconds, or like ``90s``, ``30m``, ``2h``.
        jobs: Trials at once, each in a process of its own.
        ray_address: The address of a Ray cluster that shares this file system; None starts Ray on
            this machine.
        output: The sweep's folder; None makes one under ``checkpoint_dir``.
        overrides: Settings that all trials share. A key that is also in the space is not searched.
        config_files: YAML files; the overrides win over them.
        seed: Seed of the draw of the settings; the models' own seed is the setting ``seed``.
        test: Whether to test the best settings; without, the result has no rows.
        show: Whether a bar shows the progress, on a terminal.

    Returns:
        The trials, the winner and the budget.

    Raises:
        ImportError: If Ray is not installed; the error names the extra.
        ValueError: For settings, a space or an ``output`` that do not fit, or if no trial finished.
    """
    require_ray()
    _check("jobs", jobs)
    if trials is not None:
        _check("trials", trials)
    seconds = None if time_budget is None else parse_duration(time_budget)
    given = {"threads": 1, "show_progress": False, **(overrides or {})}
    plan_space = _space(space, model, dataset).without(given)
    plan = _plan(plan_space, strategy, trials, seed)

    files = [str(Path(file).absolute()) for file in config_files or ()]
    config = _checked_config(Trials(model, dataset, Path(), files, given), plan[0]["settings"])
    for dimension in plan_space.dimensions:
        for key, value in dimension.examples():
            config.require(key, value)
    if "adapt_control" in config and "adapt_control" not in [*given, *plan_space.keys]:
        # Controls explain a result; they do not choose settings.
        given["adapt_control"] = config["adapt_control"] = []
    require_files(config)
    fitting = _fitting(plan_space, config)
    if fitting != plan_space:
        plan_space, plan = fitting, _plan(fitting, strategy, trials, seed)
    folder = Path(output) if output else _new_folder(config)
    given_plugins = plugins.loaded()
    common = Trials(config["model"], dataset, folder.absolute(), files, given, given_plugins)

    with runs.alone(folder, f"another sweep is running in {folder}", {SWEEP}):
        _claim(folder, _description(config, plan_space, strategy, seed))
        ledger = Ledger(folder / TRIALS, "id", trial_fault)
        ids = {trial["id"] for trial in plan}
        ended = ledger.records()
        pending = [trial for trial in plan if trial["id"] not in ended]
        if pending:
            _search(common, config, pending, ledger, strategy, jobs, seconds, ray_address, show)
        best = best_trial(ledger, config["valid_metric_bigger"])
        if best is None:
            raise ValueError(_nothing_finished(ledger, folder))
        budget = _budget(ledger, len(ids - ledger.records().keys()))
        rows = _test(common, best, budget) if test else []
        command = _command(common, folder, {"threads": given["threads"], **(overrides or {})})
        _write_best(common, best, config["valid_metric"], budget, command)
    records = _ranked(ledger, config["valid_metric_bigger"])
    return SweepResult(folder, config["valid_metric"], records, best, rows, budget, command)


def require_ray() -> None:
    """Refuses to start without a Ray that sweeps can use; the error names the extra."""
    tune = require("ray.tune", "ray[tune]", "a sweep", extra="tune")
    if not hasattr(tune, "RunConfig"):  # came with 2.43; RecBole 1.2.1 asks for 2.6.3 at most
        from ray import __version__

        raise ImportError(f"a sweep needs Ray 2.43 or later (RecBole 1.2.0), here is {__version__}")


# -- before the search ------------------------------------------------------------------------


def _check(key: str, number) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{key} must be an integer of at least 1, got {number!r}")


def _space(space, model: str, dataset: str) -> Space:
    if space is None:
        entry = registry.find(model)
        if entry.plugin is None:
            return Space.of_model(entry.name, dataset)
        space = entry.plugin.folder / f"{entry.name}.tuning.yaml"
    if isinstance(space, dict):
        return Space.parse(space, dataset)
    return Space.of_file(space, dataset)


def _fitting(space: Space, config) -> Space:
    """Returns a space whose ranks of a spectral model are at most what the data allow."""
    key = rank_setting(config)
    if key not in space.keys:
        return space
    measured = HillConfig(config["model"], config["dataset"], None, plain_settings(config))
    most = largest_rank(Size.of(load_data(measured).train._dataset))
    return space.capped(key, most)


def _plan(space: Space, strategy: str, trials: int | None, seed: int) -> list[dict]:
    """Returns all trials in their order, before the first begins."""
    if one_of("strategy", strategy, STRATEGIES) == "grid":
        drawn = space.grid()
        if trials is not None and trials < len(drawn):
            raise ValueError(
                f"trials {trials} would leave cells of the grid out: it has {len(drawn)}; accepted "
                f"with strategy grid are {len(drawn)} or more, or none"
            )
    else:
        drawn = space.draw(trials or _DEFAULT_TRIALS, seed)
    return [
        {"trial": number, "id": trial_id(settings), "settings": settings}
        for number, settings in enumerate(drawn)
    ]


def _checked_config(trials: Trials, settings: dict):
    """Returns a trial's configuration; refuses settings that let a search see the test set."""
    config = trials.config(settings)
    if config["protocol"] != "holdout":
        raise ValueError(
            f"a sweep chooses on validation: protocol must be holdout, got {config['protocol']!r}; "
            f"run the best settings under another protocol afterwards (--config_files={BEST})"
        )
    if config["warm_start"]:
        raise ValueError(
            f"warm_start must be empty in a sweep, got {config['warm_start']!r}: the old run may "
            "have trained on what the trials are chosen by"
        )
    return config


def _new_folder(config) -> Path:
    root = config["checkpoint_dir"]
    return runs.new_folder(root, f"sweep-{config['model']}", config["dataset"])


def _description(config, space: Space, strategy: str, seed: int) -> dict:
    """Returns, as plain values, the settings that all trials of one folder must agree on."""
    settings = {k: v for k, v in plain_settings(config).items() if k not in space.keys}
    plain = {"strategy": strategy, "draw_seed": seed, "space": space.plain(), "settings": settings}
    return json.loads(json.dumps(plain))


def _claim(folder: Path, description: dict) -> None:
    """Writes the sweep's description, or refuses a folder that holds another sweep.

    Raises:
        ValueError: If the folder holds another sweep; the error names the first difference.
    """
    file = folder / SWEEP
    if not file.is_file():
        if (folder / runs.CONFIG).exists():
            raise ValueError(
                f"output {folder} holds a run; accepted is a sweep's folder or a new one"
            )
        with atomic_path(file) as temporary:
            temporary.write_text(dump_settings(description), encoding="utf-8")
        return
    theirs = read_yaml(file, settings=dict)
    ours = {**description.pop("settings"), **description}
    theirs = {**theirs.pop("settings"), **theirs}
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise ValueError(
                f"output {folder} holds another sweep: {key} is {ours.get(key)!r} here and "
                f"{theirs.get(key)!r} there; give a new output"
            )


# -- the search -------------------------------------------------------------------------------


def _search(
    trials: Trials, config, pending, ledger: Ledger, strategy, jobs, seconds, ray_address, show
) -> None:
    """Runs the pending trials; keeps the weights of the best one only."""
    from recbole_hill.experiments.sweep import ray_search

    bigger, threads = config["valid_metric_bigger"], config["threads"] or 1
    if strategy == "asha":
        steps = {"epochs": config["epochs"], "eval_step": config["eval_step"]}
        scheduler = ray_search.asha(bigger=bigger, **steps)
    else:
        scheduler = ray_search.all_to_the_end()
    before = len(ledger.records())
    bar = tqdm(
        total=before + len(pending),
        initial=before,
        unit="trial",
        desc="sweep",
        disable=None if show else True,
    )

    def on_event(running: int) -> None:
        best = best_trial(ledger, bigger)
        score = "-" if best is None else f"{best['score']:.4f}"
        stopped, failed = (len(ledger.with_status(status)) for status in (STOPPED, FAILED))
        bar.set_postfix_str(
            f"running {running}, stopped {stopped}, failed {failed}, "
            f"best {config['valid_metric']} {score}"
        )

    def on_end(record: dict) -> None:
        ledger.append(record)
        bar.update()
        _keep_weights_of_best(trials, ledger, bigger)

    _keep_weights_of_best(trials, ledger, bigger)
    with bar, ray_search.session(ray_address, jobs * threads):
        ray_search.search(
            trials,
            pending,
            scheduler=scheduler,
            jobs=jobs,
            threads=threads,
            on_gpu=config["device"].type == "cuda",
            seconds=seconds,
            on_event=on_event,
            on_end=on_end,
        )
    _keep_weights_of_best(trials, ledger, bigger)  # a trial that was killed may have written since


def _keep_weights_of_best(trials: Trials, ledger: Ledger, bigger: bool) -> None:
    best = best_trial(ledger, bigger)
    for record in ledger.records().values():
        if best is None or record["id"] != best["id"]:
            remove_weights(trials.run_dir(record["settings"]))


# -- after it ---------------------------------------------------------------------------------


def _test(trials: Trials, best: dict, budget: dict) -> list[dict]:
    """Tests the winner's weights, unless an earlier call did."""
    folder = trials.run_dir(best["settings"])
    file = folder / runs.ROWS
    if file.is_file():
        require_unchanged(folder, runs.ROWS)
        rows = rows_of(file)
    else:
        rows = pipeline.run(resume=str(folder)).rows
    tested = (trials.folder / "trials").glob(f"*/{runs.ROWS}")
    budget["test_readings"] = len(list(tested))
    rows = [{**row, "sweep": budget} for row in rows]
    runs.write_rows(trials.folder, rows)
    add_hashes(trials.folder, [runs.ROWS, runs.METRICS])
    return rows


def _budget(ledger: Ledger, unfinished: int) -> dict:
    records = ledger.records().values()
    counts = {status: len(ledger.with_status(status)) for status in (DONE, STOPPED, FAILED)}
    seconds = sum(record["seconds"] for record in records)
    return {
        "trials": len(records),
        **counts,
        "unfinished": unfinished,
        "hours": round(seconds / 3600, 4),
    }


def _ranked(ledger: Ledger, bigger: bool) -> list[dict]:
    def key(record: dict) -> tuple:
        score = record["score"]
        if record["status"] == FAILED or score is None:
            return (2, 0.0, record["trial"])
        # A trial that was stopped lost its weights, and cannot win whatever its score was.
        return (record["status"] != DONE, -score if bigger else score, record["trial"])

    return sorted(ledger.records().values(), key=key)


def _nothing_finished(ledger: Ledger, folder: Path) -> str:
    failed = ledger.with_status(FAILED)
    if failed:
        return f"no trial of {folder} finished; trial {failed[0]['trial']}: {failed[0]['error']}"
    return (
        f"no trial of {folder} finished in time; call it again to go on, or give more time_budget"
    )


def _command(trials: Trials, folder: Path, fixed: dict) -> str:
    """Returns the command line that trains the best settings anew."""
    files = " ".join([*trials.config_files, str(folder / BEST)])
    parts = [f"--model={trials.model}", f"--dataset={trials.dataset}", f"--config_files={files}"]
    parts += [f"--plugin={source}" for source in trials.plugins]
    parts += [f"--{key}={written_setting(key, value)}" for key, value in fixed.items()]
    return "run_recbole_hill.py " + shlex.join(parts)


def _write_best(trials: Trials, best: dict, metric: str, budget: dict, command: str) -> None:
    score = f"{best['score']:.6f}"
    head = [
        f"The best of {budget['trials']} trials for {trials.model} on {trials.dataset}: "
        f"validation {metric} {score}.",
        f"{budget['done']} done, {budget['stopped']} stopped, {budget['failed']} failed, "
        f"{budget['hours']:.3f} hours of training; commit {commit()}.",
        command,
    ]
    with atomic_path(trials.folder / BEST) as temporary:
        text = "".join(f"# {line}\n" for line in head)
        # JSON is YAML too, and an empty file is no settings.
        lines = [f"{key}: {json.dumps(value)}\n" for key, value in best["settings"].items()]
        text += "".join(lines or ["{}\n"])
        temporary.write_text(text, encoding="utf-8")
