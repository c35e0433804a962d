"""Our JSON and YAML files, with what else may stand in them or in their place."""

import re

import pytest

from recbole_hill.run.own_files import parse_json, read_json, read_yaml


def test_an_object_is_read(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"sha256": null, "name": "Zoë"}', encoding="utf-8")
    assert read_json(file, sha256=(str, type(None)), name=str) == {"sha256": None, "name": "Zoë"}
    assert parse_json('{"a": 1}', "it", a=int) == {"a": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not whole JSON: Expecting value"),
        (b"\xff", "is not whole JSON: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "is not whole JSON: maximum recursion depth"),
        (b"null", "must hold an object, got None"),
        (b"[1, 2]", "must hold an object, got [1, 2]"),
        (b"7", "must hold an object, got 7"),
        (b"{}", ": sha256 must be a text or null, got nothing"),
        (b'{"sha256": 1e30}', ": sha256 must be a text or null, got 1e+30"),
        (b'{"sha256": ["%s"]}' % (b"x" * 200), f"got ['{'x' * 78}..."),
    ],
)
def test_anything_else_is_refused_and_the_file_is_named(tmp_path, data, message):
    file = tmp_path / "a.json"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(file))}.*{re.escape(message)}"):
        read_json(file, sha256=(str, type(None)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no settings"),
        (b"[1]", "holds no settings"),
        (b"{", "is not YAML"),
        (b"\xff", "is not YAML: 'utf-8' codec"),
        (b"a: 1", ": settings must be an object, got nothing"),
        (b"settings: 3", ": settings must be an object, got 3"),
    ],
)
def test_other_yaml_is_refused_and_the_file_is_named(tmp_path, data, message):
    file = tmp_path / "a.yaml"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(file))}.*{re.escape(message)}"):
        read_yaml(file, settings=dict)
    file.write_text("settings: {learning_rate: 1e-3}\n")
    assert read_yaml(file, settings=dict) == {"settings": {"learning_rate": 0.001}}


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"cannot be read: Is a directory"):
        read_json(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ValueError, match=r"loop cannot be read"):
        read_json(tmp_path / "loop")
