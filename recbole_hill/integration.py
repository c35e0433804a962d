"""The changes that ``recbole_hill.register()`` makes to RecBole, on request and once.

RecBole finds models, trainers and datasets by name inside its own packages. Our classes are put
where RecBole looks for them, but they never replace a class of RecBole's that works: from RecBole's
own entry points, RecBole's names mean RecBole's models. A plugin's model that is registered later
is also put there. RecBole's Config learns to read our YAML files and to work with current versions
of numpy. RecBole's ``load_data_and_model``, which unpickles files, is replaced by a function that
reads our run folders.
"""

import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec

from recbole_hill import registry

_PACKAGE = "recbole.model.general_recommender"


def register_with_recbole() -> None:
    """Makes our models known to RecBole's own entry points."""
    import recbole.data.dataset
    import recbole.data.utils
    import recbole.model.general_recommender  # before its modules are replaced
    import recbole.trainer
    from recbole.config import Config

    from recbole_hill.data.splits import SplitDataset, loader_of_class
    from recbole_hill.host.metrics import register_metrics
    from recbole_hill.host.pickles import create_dataset, never_load_split_dataloaders

    if getattr(Config, "_knows_recbole_hill", False):
        return
    visible: dict[str, registry.ModelEntry] = {}

    def show(entry: registry.ModelEntry) -> None:
        if _is_shown(entry):
            name = entry.name.removeprefix(registry.RECBOLE)
            visible[name] = entry
            _expose(name, entry)
            setattr(recbole.data.dataset, f"{name}Dataset", SplitDataset)

    registry.MODELS.follow(show)
    _expose_trainers(visible, recbole.trainer)
    for module in (recbole.data, recbole.data.utils):
        module.create_dataset = create_dataset
    recbole.data.utils.get_dataloader = loader_of_class(recbole.data.utils.get_dataloader)
    recbole.data.utils.load_split_dataloaders = never_load_split_dataloaders
    register_metrics()
    _teach(Config, visible)
    if importlib.util.find_spec("ray") is not None:
        import recbole.quick_start

        for module in (recbole.quick_start, recbole.quick_start.quick_start):
            module.load_data_and_model = load_data_and_model
            module.create_dataset = create_dataset


def load_data_and_model(model_file: str):
    """RecBole's function of this name, for the folders of our runs.

    Args:
        model_file: A run's folder, or a file in it.

    Returns:
        Config, model, dataset, train, validation and test loaders, as RecBole returns them.

    Raises:
        FileNotFoundError: If it is not one of our runs. RecBole's pickled checkpoints are not
            loaded, because unpickling runs code.
    """
    from pathlib import Path

    from recbole_hill.serve.loaded_run import LoadedRun

    path = Path(model_file)
    served = LoadedRun.load(path if path.is_dir() else path.parent)
    data = served.data
    return served.config, served.model, data.dataset, data.train, data.valid, data.test


def _is_shown(entry: registry.ModelEntry) -> bool:
    """Returns whether RecBole is shown a model: ours, a plugin's, or RecBole's own that we mend."""
    if entry.origin == "recbole, patched":
        return True
    return entry.origin != "recbole" and entry.name not in registry.recbole_models()


def _expose(name: str, entry: registry.ModelEntry) -> None:
    """Puts a module with the model's class where RecBole's ``get_model`` imports it from."""
    path = f"{_PACKAGE}.{name.lower()}"
    module = types.ModuleType(path)
    module.__spec__ = ModuleSpec(path, loader=None)
    module.__getattr__ = _lazily(name, entry)
    sys.modules[path] = module


def _lazily(name: str, entry: registry.ModelEntry):
    def load(attribute: str):
        if attribute != name:
            raise AttributeError(attribute)
        return entry.load()

    return load


def _expose_trainers(visible: dict[str, registry.ModelEntry], module) -> None:
    """Lets RecBole's ``get_trainer`` find a resumable trainer for each model, the registry's first.

    The registry imports a class to find its trainer. So this is done only when RecBole asks for
    one.
    """
    from recbole.utils import get_trainer

    from recbole_hill.train.trainer import with_run_hooks

    everything = {**registry.recbole_models(), **visible}
    recbole_trainers = {
        f"{name}Trainer": vars(module).pop(f"{name}Trainer", None) for name in everything
    }

    def trainer_of(attribute: str) -> type:
        name = attribute.removesuffix("Trainer")
        entry = visible.get(name) or everything.get(name)
        if name == attribute or entry is None:
            raise AttributeError(attribute)
        model = entry.load()
        own = registry.trainer_of(model) or recbole_trainers.get(attribute)
        return with_run_hooks(own or get_trainer(model.type, "of the type's "))

    module.__getattr__ = trainer_of


def _teach(config_class, visible: dict[str, registry.ModelEntry]) -> None:
    """Gives RecBole's Config our numpy aliases, and our defaults for the models it is shown."""
    from recbole_hill.config.properties import chosen_parts, internal_defaults, read_properties
    from recbole_hill.host.compatibility import numpy_aliases

    load = config_class._load_internal_config_dict

    def with_ours(self, model, model_class, dataset):
        load(self, model, model_class, dataset)
        if model in visible:
            parts = chosen_parts(self.external_config_dict)
            defaults = internal_defaults(visible[model].name, dataset, **parts)
            self.internal_config_dict.update(defaults)
            # RecBole's own entry points compute with this number, so that "auto" is not possible.
            self.internal_config_dict["eval_batch_size"] = 2**25
        else:  # RecBole's own: the settings of our trainer, which keeps no pickled checkpoint
            self.internal_config_dict = {
                **read_properties("overall.yaml"),
                **self.internal_config_dict,
            }

    config_class._load_internal_config_dict = with_ours
    config_class.compatibility_settings = lambda self: numpy_aliases()
    config_class._knows_recbole_hill = True
