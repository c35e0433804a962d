"""What a run says before it trains: its folder, its data, and its plan."""

import logging
from pathlib import Path

from recbole_hill import registry
from recbole_hill.data.splits import Data


def announce(config, data: Data) -> None:
    """Logs the statistics of the data and the stages to come.

    Args:
        config: The run's configuration, with every ``auto`` resolved.
        data: The run's data.
    """
    for line in (*describe(config, data), plan(config)):
        logging.getLogger().info(line)


def announce_folder(folder: Path) -> None:
    """Logs the run's folder."""
    logging.getLogger().info(f"run: {folder}")


def describe(config, data: Data) -> list[str]:
    """Returns the numbers of users, items and rows, and the sizes of the parts, in lines."""
    parts = {"train": data.train, "validation": data.valid, "test": data.test}
    if config["protocol"] != "holdout":
        del parts["validation"]  # a copy of the test set there
    sizes = {name: len(loader._dataset.inter_feat) for name, loader in parts.items()}
    users, items = data.dataset.user_num - 1, data.dataset.item_num - 1
    rows = sum(sizes.values())
    shares = ", ".join(f"{name} {size:,} ({size / rows:.0%})" for name, size in sizes.items())
    return [
        f"data: {config['dataset']}, {users:,} users, {items:,} items, {rows:,} rows, density "
        f"{rows / (users * items):.3%}",
        f"parts: {shares}; protocol {config['protocol']}",
    ]


def plan(config) -> str:
    """Returns the stages to come, in a line."""
    name = config["backbone"] if "backbone" in config else config["model"]
    stages = [_training(config, name)]
    if "backbone" in config:
        controls = config["adapt_control"]
        controls = [controls] if isinstance(controls, str) else controls
        depths = config["nodes_per_depth"]
        depths = depths if isinstance(depths, list) else [depths]
        nodes = " and ".join(f"{number:,}" for number in depths)
        stages += [
            f"learn the index ({config['index_learning']}, {nodes} nodes)",
            f"adapt ({', '.join([*controls, 'pairs'])}; {config['ttt_epochs']} epochs each)",
        ]
    return f"plan: {'; '.join([*stages, 'test'])}"


def _training(config, name: str) -> str:
    if "backbone" in config and config["backbone_from"]:
        return f"take {name} over from {config['backbone_from']}"
    if hasattr(registry.find(name).load(), "fit_once"):
        return f"fit {name}, which needs no epochs"
    if config["protocol"] != "holdout":
        return f"train {name}, {config['epochs']} epochs"
    stop = f"it stops after {config['stopping_step']} validations without a new best"
    return f"train {name}, at most {config['epochs']} epochs ({stop})"
