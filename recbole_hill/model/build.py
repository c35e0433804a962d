"""A model with its seeded initial weights."""

from recbole.utils import init_seed


def build_model(config, data):
    """Returns the model with its seeded initial weights on its device."""
    init_seed(config["seed"], config["reproducibility"])
    return config.model_class(config, data.train._dataset).to(config["device"])
