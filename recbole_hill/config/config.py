"""RecBole's Config, given our models, our YAML files and strict keys.

Order of precedence, lowest first: RecBole's defaults, ``properties/overall.yaml``, the dataset's
YAML, the model's YAML (for HILL: its backbone's first), the model's ``per_dataset`` block, config
files, keyword overrides. ``sys.argv`` is never read: what a host program or pytest was called with
must not change an experiment.
"""

import difflib
import json
import os
from pathlib import Path

import torch
import yaml
from recbole.config import Config
from recbole.utils import argument_list

from recbole_hill import registry
from recbole_hill.checks import one_of
from recbole_hill.config.properties import internal_defaults, recbole_defaults, yaml_loader
from recbole_hill.host.compatibility import numpy_aliases
from recbole_hill.host.metrics import register_metrics

PROTOCOLS = ("holdout", "refit", "published")

#: Keys without a default in any YAML file: RecBole's own, and the run's folder.
_EXTRA_KEYS = frozenset(
    {
        "model",
        "dataset",
        "config_files",
        "reg_weight",
        "tasks",
        "interest_fields",
        "run_dir",
        "nproc",
        "world_size",
        "ip",
        "port",
        "offset",
        "local_rank",
        "neg_sampling",
        "training_neg_sample_num",
        "encoding",
        "numerical_features",
        "discretization",
        "wandb_project",
        "worker",
        "shuffle",
        "enable_amp",
        "enable_scaler",
        "transform",
        "require_pow",
    }
)


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
        "gpu_id",
        "use_gpu",
        "data_path",
        "resume",
    }
)


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
        one_of("protocol", self["protocol"], PROTOCOLS)

        metric, at, k = self["valid_metric"].partition("@")
        measured = {name.lower() for name in self["metrics"]}
        if metric.lower() not in measured or (at and k not in map(str, self["topk"])):
            raise ValueError(
                f"valid_metric {self['valid_metric']!r} must be one of the metrics "
                f"{self['metrics']} at one of topk {self['topk']}"
            )
        if metric.lower() == "calibration":
            raise ValueError(
                f"valid_metric {self['valid_metric']!r} is best at 1, neither higher nor lower: "
                f"nothing can be chosen by it; accepted are the other metrics {self['metrics']}"
            )

    def compatibility_settings(self):
        """Sets the numpy aliases that RecBole uses and today's numpy lacks."""
        numpy_aliases()

    def _load_cmd_line(self):
        return {}

    def _load_config_files(self, file_list):
        for file in file_list or ():
            if not os.path.isfile(file):
                raise FileNotFoundError(f"config file {file} does not exist")
        return super()._load_config_files(file_list)

    def _get_model_and_dataset(self, model, dataset):
        name = self._wanted_model or self.external_config_dict.get("model")
        dataset = dataset or self.external_config_dict.get("dataset")
        if not name or not dataset:
            missing = "model" if not name else "dataset"
            raise ValueError(f"no {missing} given: say --{missing}=NAME")
        entry = registry.find(name)
        return entry.name, entry.load(), dataset

    def _load_internal_config_dict(self, model, model_class, dataset):
        # RecBole reads its YAML file of the name, which is of another class if ours took the name.
        settings = registry.find(model).recbole_settings
        super()._load_internal_config_dict(settings, model_class, dataset)
        self.internal_config_dict.update(
            internal_defaults(model, dataset, self.external_config_dict.get("backbone"))
        )
        if "backbone" in self.external_config_dict:  # an alias was resolved to the name
            self.external_config_dict["backbone"] = self.internal_config_dict["backbone"]
        self._check_keys(model)

    def _check_keys(self, model: str) -> None:
        known = set(self.internal_config_dict) | _EXTRA_KEYS
        for group in ("general", "training", "evaluation", "dataset"):
            known |= set(getattr(argument_list, f"{group}_arguments"))
        known |= set(recbole_defaults("dataset", "sample.yaml"))
        for key in self.external_config_dict:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"unknown key {key!r} for model {model}{hint}")

    def _set_default_parameters(self):
        super()._set_default_parameters()
        final = self.final_config_dict
        if not final.get("benchmark_filename"):
            manifest = Path(final["data_path"], f"{final['dataset']}.manifest.json")
            whole = Path(final["data_path"], f"{final['dataset']}.inter")
            if manifest.is_file() and not whole.is_file():  # `prepare` wrote a split
                final["benchmark_filename"] = ["train", "test"]

    def _init_device(self):
        """Resolves ``device``, honouring CUDA_VISIBLE_DEVICES, which RecBole would overwrite."""
        final = self.final_config_dict
        wanted = str(final.get("device", "auto"))
        if wanted == "auto" and self.external_config_dict.get("use_gpu") is True:
            wanted = "cuda"
        kind = wanted.split(":")[0]
        if kind not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {wanted!r}")
        if kind == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {wanted!r} was asked for, but CUDA is not available here")
        if "local_rank" in final and final.get("nproc", 1) > 1:
            raise ValueError("nproc must be 1: run one seed per GPU instead of one run on several")
        if kind == "auto":
            wanted = "cuda" if torch.cuda.is_available() and final.get("use_gpu", True) else "cpu"
        final["device"] = torch.device(wanted)
        final["use_gpu"] = wanted != "cpu"
        final["gpu_id"] = str(final["gpu_id"])
        final["single_spec"] = True
        final["local_rank"] = 0


def plain_settings(config: Config) -> dict:
    """Returns the effective settings as plain values from which the configuration follows.

    What RecBole derives from them (model type, evaluation type, device object) is left out.
    """
    settings = {
        key: value
        for key, value in config.final_config_dict.items()
        if _is_plain(value) and key not in _DERIVED
    }
    raw = {**config.internal_config_dict, **config.external_config_dict}
    # As given, because RecBole refuses what it makes of them.
    given = {key: raw[key] for key in ("data_path", "train_neg_sample_args")}
    return {**settings, **given, "device": raw.get("device", "auto")}


def _is_plain(value) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(v) for v in value)
    if isinstance(value, dict):
        return all(_is_plain(v) for v in value.values())
    return value is None or isinstance(value, (str, bool, int, float))


def written_value(value) -> str:
    """Returns a setting's value as :func:`parse_value` reads it back."""
    return "~" if value is None else value if isinstance(value, str) else json.dumps(value)


def parse_value(text: str):
    """Reads a command-line value: YAML in RecBole's dialect, a plain word staying a string."""
    try:
        return yaml.load(text, Loader=yaml_loader())
    except yaml.YAMLError:
        return text
