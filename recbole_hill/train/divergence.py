"""Says that a run has diverged, and names the setting to change."""

import math

from recbole_hill.checks import is_number
from recbole_hill.config.properties import chosen_parts, internal_defaults, recbole_defaults

#: Settings that are no cause: they choose the split, or only bound the learning rate.
_NO_CAUSE = ("valid_ratio", "lr_factor", "lr_least")
#: A setting is suspicious from this many powers of ten on.
_SUSPICIOUS = 0.5


def diverged(config, where: str, what: str, rate: str = "learning_rate") -> ValueError:
    """Returns the error for a loss, weights or scores that are not finite, in one line.

    Args:
        config: RecBole's Config of the run.
        where: The place in the run, such as ``epoch 3``.
        what: What is not finite, such as ``the loss is nan``.
        rate: The setting of the learning rate there.
    """
    key, default = _farthest(config)
    if key is None:
        cause = f"try a smaller {rate} than {config[rate]}"
    else:
        cause = (
            f"of the settings {key} {config[key]} is farthest from its default {default}; try a "
            "value that is nearer to it"
        )
    return ValueError(f"{config['model']} has diverged in {where}: {what}; {cause}")


def _farthest(config) -> tuple[str | None, float | None]:
    """Returns the setting whose value is most powers of ten away from its default, and the default.

    Only settings whose default is a decimal number count: rates, weights, temperatures.
    """
    parts = chosen_parts(config.external_config_dict)
    ours = internal_defaults(config["model"], config["dataset"], **parts)
    defaults = {**recbole_defaults("overall.yaml"), **ours}
    found, most = (None, None), _SUSPICIOUS
    for key, default in defaults.items():
        value = config[key]
        if isinstance(default, float) and is_number(value) and value and key not in _NO_CAUSE:
            distance = math.log10(abs(value / (default or 1.0)))
            distance = (
                abs(distance) if default else distance
            )  # small where the default is 0: no sign
            if distance >= most:
                found, most = (key, default), distance
    return found
