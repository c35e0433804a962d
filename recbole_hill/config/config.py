"""RecBole's Config, given our models, our YAML files and strict keys.

Order of precedence, lowest first: RecBole's defaults, ``properties/overall.yaml``, the dataset's
YAML, the model's YAML (for HILL: its backbone's first), the model's ``per_dataset`` block, config
files, keyword overrides. ``sys.argv`` is never read: what a host program or pytest was called with
must not change an experiment.
"""

import difflib
import os
import warnings
from pathlib import Path

import torch
import yaml
from recbole.config import Config
from recbole.utils import ModelType

from recbole_hill import plugins, registry
from recbole_hill.config.dialect import SettingsLoader, load_settings
from recbole_hill.config.properties import (
    chosen_parts,
    internal_defaults,
    owners,
    shipped_settings,
)
from recbole_hill.config.schema import check, keys_of_every_run, schema_of
from recbole_hill.config.split import eval_args_of
from recbole_hill.host.compatibility import numpy_aliases
from recbole_hill.host.metrics import measured_names, register_metrics, require_metrics
from recbole_hill.host.pickles import require_no_pickles

#: Settings of HILL until 2026-12 that are constants now, with the constants' values: the settings
#: of older runs and tables still hold them.
_RETIRED = {
    "em_epochs": 1,
    "em_weight": 0.1,
    "kmeans_iterations": 20,
    "kmeans_points_per_node": 256,
    "index_supervision": 1.0,
    "index_reconstruction": 1.0,
    "index_balance_batches": 8,
    "index_start_epoch": 1,
    "index_precision": "bfloat16",
    "interest_top_k": 20,
    "interest_carry": "touched",
    "average_weight": 0.1,
    "faiss_probe": "beam",
}

#: Where a run is logged besides its folder: not kept, because a URI may hold a password.
LOGGERS = ("log_mlflow", "log_wandb", "wandb_project")
#: What RecBole computes from the settings, and keys of ours that belong to one machine's run.
_DERIVED = frozenset(
    {
        "single_spec",
        "local_rank",
        "valid_metric_bigger",
        "valid_neg_sample_args",
        "test_neg_sample_args",
        "checkpoint_dir",
        "run_dir",
        "floor_file",
        "gpu_id",
        "use_gpu",
        "data_path",
        "keep_tables",
        "kept_tables",
        "resume",
        "plugins",
        *LOGGERS,
    }
)


def without_retired(settings: dict) -> dict:
    """Returns the settings of a finished run, less the ones that only its training used."""
    if "backbone" not in settings:
        return settings
    return {key: value for key, value in settings.items() if key not in _RETIRED}


class HillConfig(Config):
    """Configuration of one run.

    Args:
        model: A registered name, ours or RecBole's.
        dataset: Dataset name.
        config_file_list: YAML files, later ones win.
        config_dict: Overrides, which win over files.

    Raises:
        ValueError: For an unknown model, key or protocol, or a device that is not there; the
            message names the value and what is accepted.
    """

    def __init__(self, model=None, dataset=None, config_file_list=None, config_dict=None):
        self._wanted_model = model
        register_metrics()
        super().__init__(None, dataset, config_file_list, config_dict)
        self._note_changed_plugins()
        if self["epochs"] == 0 and not self["warm_start"]:
            raise ValueError("epochs must be an integer >= 1, got 0 without warm_start")
        if hasattr(self.model_class, "require_settings"):
            self.model_class.require_settings(self)
        ranks = self["MODEL_TYPE"] != ModelType.CONTEXT  # a model of labels ranks by itself
        if "backbone" in self and ranks and self["eval_args"]["mode"]["test"] != "full":
            raise ValueError(
                f"eval_args mode of the test must be full for {self['model']}, which searches all "
                f"items, got {self['eval_args']['mode']['test']!r}"
            )
        names, metric = measured_names(self["metrics"], self["topk"]), self["valid_metric"]
        if metric.lower() not in map(str.lower, names):
            name = metric.partition("@")[0].lower()
            known = next((one for one in names if one.partition("@")[0].lower() == name), names[0])
            raise ValueError(
                f"valid_metric {metric!r} must be one of the metrics {', '.join(names)}: give "
                f"valid_metric too, such as --valid_metric={known}"
            )
        if metric.lower() == "calibration":
            raise ValueError(
                f"valid_metric {metric!r} is best at 1, neither higher nor lower: "
                f"nothing can be chosen by it; accepted are the other metrics {self['metrics']}"
            )

    def compatibility_settings(self):
        """Sets the numpy aliases that RecBole uses and today's numpy lacks."""
        numpy_aliases()

    def _load_cmd_line(self):
        return {}

    def _build_yaml_loader(self):
        return SettingsLoader

    def _convert_config_dict(self, config_dict):
        """Leaves settings as they are typed; RecBole's own passes every string to ``eval``."""
        return dict(config_dict)

    def _load_config_files(self, file_list):
        """Reads YAML files; a later one wins."""
        settings = {}
        for file in file_list or ():
            if not os.path.isfile(file):
                raise FileNotFoundError(f"config file {file} does not exist")
            try:
                own = load_settings(Path(file).read_text(encoding="utf-8")) or {}
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise ValueError(f"config file {file} is not YAML: {error}") from error
            if not isinstance(own, dict):
                raise ValueError(f"config file {file} must hold settings, key: value, got {own!r}")
            settings.update(own)
        return settings

    def _get_model_and_dataset(self, model, dataset):
        name = self._wanted_model or self.external_config_dict.get("model")
        dataset = dataset or self.external_config_dict.get("dataset")
        given = self.external_config_dict
        for key, value in {"model": name, "dataset": dataset}.items():
            if value is None:
                raise ValueError(f"no {key} given: say --{key}=NAME")
            check(key, value, schema_of(key))
        for key in chosen_parts(given).keys() & given.keys():
            check(key, given[key], schema_of(key, owner=name))
        # A record, not a setting: nothing is imported because a run's folder says so.
        self._recorded_plugins = given.pop("plugins", None) or {}
        if not isinstance(self._recorded_plugins, dict):
            raise ValueError(
                f"plugins must be a run's record of its plugins, got {self._recorded_plugins!r}; "
                "a plugin is given as --plugin=FILE"
            )
        try:
            entry = registry.find(name)
            self._defaults = internal_defaults(entry.name, dataset, **chosen_parts(given))
        except registry.UnknownName as error:
            options = " ".join(f"--plugin={plugin!r}" for plugin in self._recorded_plugins)
            hint = f"; the run was made with {options}" if options else ""
            raise registry.UnknownName(f"{error}{hint}") from error
        return entry.name, registry.class_over(name, self._defaults.get("backbone")), dataset

    def _note_changed_plugins(self) -> None:
        """Warns where a plugin is not, byte for byte, the one that the run's record names."""
        for name, sha256 in plugins.record(self.final_config_dict).items():
            recorded = self._recorded_plugins.get(name, sha256)
            if recorded != sha256:
                warnings.warn(
                    f"plugin {name} is not the file that the run was made with: its SHA-256 is "
                    f"{sha256[:12]}, recorded is {str(recorded)[:12]!r}",
                    stacklevel=3,
                )

    def _load_internal_config_dict(self, model, model_class, dataset):
        # RecBole reads its YAML file of the name, which is of another class if ours took the name.
        settings = registry.find(model).recbole_settings
        super()._load_internal_config_dict(settings, model_class, dataset)
        self.internal_config_dict.update(self._defaults)
        self._check_keys(model)
        if "backbone" in self.external_config_dict:  # an alias was resolved to the name
            self.external_config_dict["backbone"] = self.internal_config_dict["backbone"]
        self._owners = owners(model, self.internal_config_dict.get("backbone"))
        settings = {**self.internal_config_dict, **self.external_config_dict}
        require_no_pickles(settings)
        for key, value in settings.items():
            self.require(key, value)

    def require(self, key: str, value) -> None:
        """Refuses a value that a setting does not accept in this run.

        Raises:
            ValueError: In one line, with the key, what is accepted and the value.
        """
        default = self.internal_config_dict.get(key)
        if value is not None or default is not None:
            check(key, value, schema_of(key, self._owners.get(key), default))

    def _update_internal_config_dict(self, file):
        """Takes the settings of a YAML file of RecBole's, which a process reads once."""
        settings = shipped_settings(Path(file))
        self.internal_config_dict.update(settings)
        return settings

    def _check_keys(self, model: str) -> None:
        known = keys_of_every_run() | self.internal_config_dict.keys()
        for key, value in list(self.external_config_dict.items()):
            if key in known:
                continue
            if key in _RETIRED and "backbone" in self.internal_config_dict:
                if value != _RETIRED[key]:
                    raise ValueError(
                        f"{key} is a constant now and no setting: accepted is "
                        f"{_RETIRED[key]!r}, got {value!r}"
                    )
                del self.external_config_dict[key]
            else:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"unknown key {key!r} for model {model}{hint}")

    def _set_default_parameters(self):
        require_metrics(self["metrics"])
        super()._set_default_parameters()
        final = self.final_config_dict
        given = self.external_config_dict.get("data_path")
        if given and given != self.internal_config_dict["data_path"]:
            # RecBole reads its own copy of ml-100k, whatever was given.
            final["data_path"] = os.path.join(given, final["dataset"])
        if not final.get("benchmark_filename"):
            manifest = Path(final["data_path"], f"{final['dataset']}.manifest.json")
            whole = Path(final["data_path"], f"{final['dataset']}.inter")
            if manifest.is_file() and not whole.is_file():  # `prepare` wrote a split
                final["benchmark_filename"] = ["train", "test"]
        if final["split"] is not None:
            by_hand = self.external_config_dict.get("eval_args") or {}
            files, dataset = final.get("benchmark_filename"), final["dataset"]
            final["eval_args"].update(eval_args_of(final["split"], by_hand, files, dataset))
        if final["split"] == "cold_users":
            if self.external_config_dict.get("cold_test_users", "rank") != "rank":
                raise ValueError(
                    "cold_test_users must be rank for split cold_users, whose test users have no "
                    "train item, got 'drop'"
                )
            final["cold_test_users"] = "rank"

    def _init_device(self):
        """Resolves ``device``, honouring CUDA_VISIBLE_DEVICES, which RecBole would overwrite."""
        final = self.final_config_dict
        wanted = str(final.get("device", "auto"))
        if wanted == "auto" and self.external_config_dict.get("use_gpu") is True:
            wanted = "cuda"
        kind, _, number = wanted.partition(":")
        if kind == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {wanted!r} was asked for, but CUDA is not available here")
        if number and int(number) >= torch.cuda.device_count():
            raise ValueError(
                f"device must be cuda:N with N below {torch.cuda.device_count()}, the number of "
                f"GPUs here, got {wanted!r}"
            )
        if kind == "auto":
            wanted = "cuda" if torch.cuda.is_available() and final.get("use_gpu", True) else "cpu"
        final["device"] = torch.device(wanted)
        final["use_gpu"] = wanted != "cpu"
        final["gpu_id"] = str(final["gpu_id"])
        final["single_spec"] = True
        final["local_rank"] = 0


def plain_settings(config: Config) -> dict:
    """Returns the effective settings as plain values from which the configuration follows.

    What RecBole derives from them (model type, evaluation type, device object) is left out. The
    plugins that the settings name an entry of are added as ``plugins``, a record by name.
    """
    settings = {
        key: value
        for key, value in config.final_config_dict.items()
        if _is_plain(value) and key not in _DERIVED
    }
    raw = {**config.internal_config_dict, **config.external_config_dict}
    # As given, because RecBole refuses what it makes of them.
    given = {key: raw[key] for key in ("data_path", "train_neg_sample_args")}
    used = plugins.record(config.final_config_dict)
    record = {"plugins": used} if used else {}
    return {**settings, **given, "device": raw.get("device", "auto"), **record}


def _is_plain(value) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(v) for v in value)
    if isinstance(value, dict):
        return all(_is_plain(v) for v in value.values())
    return value is None or isinstance(value, (str, bool, int, float))
