"""The check of settings by ``properties/schema.yaml``, which says what each of them accepts."""

from collections.abc import Mapping
from functools import cache

from jsonschema import Draft202012Validator, validators

from recbole_hill.checks import is_finite_number, is_integer
from recbole_hill.config.properties import read_properties

#: Characters of a refused value that a message shows.
_SHOWN = 80
_WORDS = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text of at least one character",
    "array": "a list",
    "object": "a mapping (key: value)",
    "null": "~",
}
#: The schema's type of a default value; of others nothing is known.
_TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
_Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: is_integer(value),
            "number": lambda _, value: is_finite_number(value),
            "array": lambda _, value: isinstance(value, (list, tuple)),
        }
    ),
)


def keys_of_every_run() -> frozenset[str]:
    """Returns the settings that every run accepts, whatever its model."""
    return frozenset(_read()["runs"])


def schema_of(key: str, owner: str | None = None, default=None) -> Mapping:
    """Returns what a setting accepts.

    Args:
        key: The setting.
        owner: The model of ours whose YAML file has the setting; None for another's setting, whose
            name may be one of ours by chance.
        default: The value by default. Its type is all that is known of a setting without a schema.
    """
    known = _read()
    if owner is not None:
        found = known["of_model"].get(owner, {}).get(key) or known["models"].get(key)
        if found:
            return found
    if key in known["runs"]:
        return known["runs"][key]
    kind = _TYPES.get(type(default))
    return {"type": kind} if kind else {}


def check(key: str, value, schema: Mapping) -> None:
    """Refuses a value that does not fit.

    Args:
        key: The setting, for the message.
        value: The value.
        schema: From :func:`schema_of`, or any JSON Schema.

    Raises:
        ValueError: In one line, with the key, what is accepted and the value.
    """
    if _fits(value, schema):
        return
    schema = _resolved(schema)
    if isinstance(value, Mapping):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                check(f"{key} {name}", value[name], part)
    raise ValueError(f"{key} must be {accepted(schema)}, got {shown(value)}")


def accepted(schema: Mapping) -> str:
    """Returns in words what a schema accepts."""
    schema = _resolved(schema)
    if "title" in schema:
        return schema["title"]
    if "enum" in schema:
        return f"one of {', '.join('~' if one is None else str(one) for one in schema['enum'])}"
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(_WORDS[kind] + _bounds(kind, schema) for kind in kinds)


def shown(value) -> str:
    """Returns a value as a message shows it, in at most about 80 characters."""
    text = "~" if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _bounds(kind: str, schema: Mapping) -> str:
    if kind not in ("integer", "number"):
        return ""
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    low = f"[{least}" if least is not None else f"({above}" if above is not None else ""
    high = f"{most}]" if most is not None else f"{below})" if below is not None else ""
    if low and high:
        return f" in {low}, {high}"
    if low:
        return f" >= {least}" if least is not None else f" above {above}"
    return ""


def _fits(value, schema: Mapping) -> bool:
    return _Validator({**schema, "$defs": _read()["$defs"]}).is_valid(value)


def _resolved(schema: Mapping) -> Mapping:
    reference = schema.get("$ref")
    return _read()["$defs"][reference.rpartition("/")[2]] if reference else schema


@cache
def _read() -> dict:
    return read_properties("schema.yaml")
