"""A model with its seeded initial weights."""

from recbole.utils import init_seed


def build_model(config, data):
    """Returns the model on its device, with its seeded initial weights.

    Args:
        config: Configuration of the run.
        data: The run's data.
    """
    init_seed(config["seed"], config["reproducibility"])
    return config.model_class(config, data.train._dataset).to(config["device"])
