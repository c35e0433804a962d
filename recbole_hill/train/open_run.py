"""The start of a run: its settings, its folder and its log, before anything is loaded."""

import logging
from pathlib import Path

from recbole_hill import registry
from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.data.splits import require_files
from recbole_hill.evaluation.per_user import PER_USER
from recbole_hill.evaluation.top_lists import LISTS
from recbole_hill.run import folder as runs
from recbole_hill.run.hashes import changed_files, forget_hashes, require_unchanged
from recbole_hill.run.parent_runs import parent_folders
from recbole_hill.run.tracking import require_trackers

#: Settings that a resumed run may have otherwise: they change neither the data nor the weights of a
#: finished stage.
RESUMED_WITH = frozenset(
    {"beam_width", "device", "eval_memory_mb", "node_score", "retrieval", "show_progress"}
    | {"state", "threads"}
)
#: Files that a resumed run writes anew, whatever was in them.
_RESULTS = frozenset({runs.ROWS, runs.METRICS, PER_USER, LISTS})


def settings_of(model, dataset, config_files, overrides, resume) -> HillConfig:
    """Reads and checks the settings of a run, new or resumed; writes nothing."""
    if resume:
        own = runs.read_config(Path(resume))
        overrides = {**own, **(overrides or {}), "run_dir": resume}
    config = HillConfig(model, dataset, config_files, overrides)
    if resume:
        _require_same_settings(config, HillConfig(None, None, None, {**own, "run_dir": resume}))
    else:
        _require_parents(config)
    require_trackers(config)
    require_files(config)
    return config


def open_run(config: HillConfig, folder: Path, *, resumed: bool, echo: bool = True) -> None:
    """Claims the run's folder, and starts its log; see :func:`recbole_hill.run.folder.start_log`.

    Raises:
        ValueError: If the folder holds a run, and this one is not resumed; or if what the resumed
            run starts from was changed after it was written. Its results are made again.
    """
    if not resumed:
        runs.claim(folder)
    else:
        if changed := set(changed_files(folder)) - _RESULTS:
            require_unchanged(folder, min(changed))
        forget_hashes(folder)
    runs.start_log(folder, config["state"], echo=echo)
    runs.write_config(folder, plain_settings(config))
    if other := registry.replaced(registry.find(config["model"])):
        logging.getLogger().info(f"{config['model']} is recbole_hill's; RecBole's runs as {other}")


def _require_parents(config: HillConfig) -> None:
    """Refuses a setting that names a folder to start from, and no run is there.

    Raises:
        ValueError: Naming the setting and the folder.
    """
    for key, folders in parent_folders(plain_settings(config)).items():
        for folder in folders:
            if not (folder / runs.CONFIG).is_file():
                raise ValueError(
                    f"{key} must name a finished run's folder; {folder} has no {runs.CONFIG}"
                )


def _require_same_settings(config: HillConfig, own: HillConfig) -> None:
    """Refuses to resume a run under other settings: its finished stages would bear a false label.

    Raises:
        ValueError: Naming the setting, both values and what is accepted.
    """
    asked, of_run = plain_settings(config), plain_settings(own)
    for key in sorted((asked.keys() | of_run.keys()) - RESUMED_WITH):
        if asked.get(key) != of_run.get(key):
            raise ValueError(
                f"--resume continues a run with its own settings: {key} is {asked.get(key)!r} "
                f"here and {of_run.get(key)!r} there; accepted are other values of "
                f"{', '.join(sorted(RESUMED_WITH))}"
            )
