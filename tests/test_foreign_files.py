"""Files of strangers: no text in them runs as code, and no pickle is opened."""

import pickle
from pathlib import Path

import pytest
import yaml
from conftest import tiny_settings

from recbole_hill.cli import main
from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.config.dialect import (
    dump_settings,
    load_settings,
    parse_setting,
    written_setting,
)
from recbole_hill.data.splits import load_data
from recbole_hill.host.pickles import SETTINGS
from recbole_hill.pipeline import run
from recbole_hill.run.folder import CONFIG, read_config
from recbole_hill.serve.loaded_run import LoadedRun

PAYLOAD = "__import__('pathlib').Path({!r}).write_text('ran')"


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "ran")


@pytest.fixture(scope="module")
def finished(tiny_path, tmp_path_factory):
    root = tmp_path_factory.mktemp("saved")
    changes = {"checkpoint_dir": str(root), "epochs": 1}
    return run("BPR", "tiny", overrides=tiny_settings(tiny_path, "BPR", **changes)).folder


@pytest.mark.parametrize("key", ["wandb_project", "clip_grad_norm", "eval_args", "field_separator"])
def test_no_string_of_a_runs_settings_is_evaluated(finished, tmp_path, key):
    """RecBole's Config passes every string of a dictionary to ``eval``."""
    import shutil

    trace, copy = tmp_path / "trace", tmp_path / "copy"
    shutil.copytree(finished, copy)
    settings = yaml.safe_load((copy / CONFIG).read_text())
    settings[key] = PAYLOAD.format(str(trace))
    (copy / CONFIG).write_text(yaml.safe_dump(settings))
    for command in (
        ["recommend", f"--checkpoint={copy}", "--users=1"],
        ["export", f"--checkpoint={copy}", f"--output={tmp_path / 'out'}"],
        ["explain", f"--checkpoint={copy}", "--user=1"],
        [f"--resume={copy}"],
    ):
        main(command)
        assert not trace.exists(), command


@pytest.mark.parametrize(
    "text", ["exit()", "9**9**9", "2024", "1e3", "true", "[1, 2]", "a: b", "x #y"]
)
def test_a_text_stays_a_text_wherever_it_comes_from(tiny_path, tmp_path, text):
    given = tiny_settings(tiny_path, "BPR", warm_start=text, run_dir=str(tmp_path))
    config = HillConfig("BPR", "tiny", None, given)
    assert config["warm_start"] == text
    assert load_settings(dump_settings(plain_settings(config)))["warm_start"] == text
    assert parse_setting("warm_start", written_setting("warm_start", text)) == text
    assert parse_setting("state", written_setting("state", text)) == text


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.system ['touch x']", "!!python/name:os.system", "a: &a [*a]"],
)
def test_settings_are_plain_data_without_tags_and_aliases(text):
    with pytest.raises(yaml.YAMLError):
        load_settings(text)


def test_an_alias_bomb_is_refused_in_one_line(tmp_path):
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30)]
    (tmp_path / CONFIG).write_text("\n".join(["l0: &l0 [x]", *levels]))
    with pytest.raises(ValueError, match="is not YAML: aliases"):
        read_config(tmp_path)


def test_pickled_data_are_neither_read_nor_written(tiny_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved, trace = tmp_path / "saved", tmp_path / "trace"
    saved.mkdir()
    for name in ("tiny-for-BPR-dataloader.pth", "tiny-Dataset.pth", "tiny-SplitDataset.pth"):
        (saved / name).write_bytes(pickle.dumps(Payload(trace)))
    given = tiny_settings(tiny_path, "BPR", checkpoint_dir=str(saved), run_dir=str(tmp_path / "r"))
    load_data(HillConfig("BPR", "tiny", None, given))
    assert not trace.exists()
    for key in SETTINGS:
        with pytest.raises(ValueError, match=rf"{key} must be unset, got 'saved/x.pth'"):
            HillConfig("BPR", "tiny", None, {**given, key: "saved/x.pth"})


def test_a_run_is_loaded_as_it_was_written(finished):
    run = LoadedRun.load(finished)
    assert run.config["dataset"] == "tiny" and run.recommend(["1"], 3)
