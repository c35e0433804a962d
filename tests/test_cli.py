"""The command line as its user meets it."""

import json
import re

import pytest
from conftest import tiny_settings

from recbole_hill import cli
from recbole_hill.cli import main
from recbole_hill.run.hashes import HASHES


def arguments(settings: dict) -> list[str]:
    return [f"--{key}={value}" for key, value in settings.items()]


def test_run_prints_the_table(tiny_path, in_tmp, capsys):
    settings = tiny_settings(tiny_path, "NESCL", epochs=2)
    assert main(["--model=NESCL", "--dataset=tiny", *arguments(settings)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^NESCL +0\.\d{4}", out, re.M) and "protocol holdout" in out
    folder = out.strip().splitlines()[-1].removeprefix("kept in ")
    row = json.loads((in_tmp / folder / "rows.jsonl").read_text())
    assert f"{row['metrics']['recall@5']:.4f}" in out


def test_run_dir_is_created_and_taken_once(tiny_path, in_tmp, capsys):
    settings = tiny_settings(tiny_path, "Pop", run_dir="new/mine")
    assert main(["--model=Pop", "--dataset=tiny", *arguments(settings)]) == 0
    assert (in_tmp / "new" / "mine" / "rows.jsonl").is_file()
    assert main(["--model=Pop", "--dataset=tiny", *arguments(settings)]) == 1
    assert "run_dir new/mine holds a run already" in capsys.readouterr().err


def test_published_says_that_it_is_test_selected(tiny_path, in_tmp, capsys):
    settings = tiny_settings(tiny_path, "NESCL", epochs=1)
    main(["--model=NESCL", "--dataset=tiny", "--protocol=published", *arguments(settings)])
    assert "published (test-selected)" in capsys.readouterr().out


def test_prepare_then_run(in_tmp, tiny_path, capsys):
    (in_tmp / "train.txt").write_text("".join(f"{u} {u % 9} {(u + 1) % 9}\n" for u in range(30)))
    (in_tmp / "test.txt").write_text("".join(f"{u} {(u + 2) % 9}\n" for u in range(30)))
    assert main(["prepare", "mine", f"--source={in_tmp}"]) == 0
    settings = tiny_settings(tiny_path, "NESCL", epochs=1, topk=[3], valid_metric="NDCG@3")
    settings["data_path"] = "dataset"
    assert main(["--model=NESCL", "--dataset=mine", *arguments(settings)]) == 0
    assert "mine (" in capsys.readouterr().out


def test_models_lists_names_origins_and_citations(capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["HILL", "own"] for line in lines)
    assert any(line.startswith("BPR") and "Rendle" in line for line in lines)
    assert any(line.split()[:3] == ["LINE", "recbole,", "patched"] for line in lines)
    assert any(line.startswith("NESCL (SUPCCL) ") for line in lines)
    names = [line.split()[0] for line in lines]
    assert len(names) == len(set(names))


def test_models_are_filtered(capsys):
    assert main(["models", "--filter=No Training"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} >= {"EASE", "Pop", "Fusion"}
    assert all("no training" in line for line in lines) and len(lines) < 20
    assert main(["models", "--filter=nothing-like-it"]) == 1
    assert "--filter=nothing-like-it: none of the " in capsys.readouterr().err


def test_recommend_in_external_ids_without_seen_items(run_folder, tiny_path, capsys):
    assert main(["recommend", f"--checkpoint={run_folder}", "--users=42,17", "--k=5"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["42"] * 5 + ["17"] * 5
    assert [int(row[1]) for row in rows] == [1, 2, 3, 4, 5] * 2
    text = (tiny_path / "tiny" / "tiny.train.inter").read_text().splitlines()[1:]
    seen = {tuple(line.split("\t")) for line in text}
    assert not seen & {(row[0], row[2]) for row in rows}
    scores = [float(row[3]) for row in rows[:5]]
    assert scores == sorted(scores, reverse=True)


def test_explain_shows_every_level(run_folder, capsys):
    assert main(["explain", f"--checkpoint={run_folder}", "--user=42"]) == 0
    out = capsys.readouterr().out
    assert "depth 2: 4 nodes" in out and "depth 1: 12 nodes" in out
    assert len(re.findall(r"^  item +\d+ .* nodes \d+ > \d+$", out, re.M)) == 5


BAD = [
    (["--model=HIL", "--dataset=ml-100k"], "unknown model 'HIL'; did you mean HILL"),
    (["--model=HILL"], "no dataset given"),
    (["--model=HILL", "--dataset=ml-100k", "--tt_epochs=1"], "did you mean ttt_epochs"),
    (["--model=BPR", "--dataset=ml-100k", "--backbone=NESCL"], "unknown key 'backbone' for model"),
    (["--model=HILL", "--dataset=ml-100k", "--protocol=test"], "protocol must be one of"),
    (["--model=HILL", "--dataset=nowhere"], "prepare nowhere --source=PATH"),
    (["--model=BPR", "--dataset=gowalla"], "does not exist; write it with `recbole-hill prepare"),
    (["--model=HILL", "--dataset=ml-100k", "stray"], "cannot read argument 'stray'"),
    (["--model=BPR", "--dataset=ml-100k", "--a=1", "--a=2"], "--a is given twice"),
    (
        ["--model=BPR", "--dataset=ml-100k", "--topk=[20, 5000]"],
        "longer lists than there are items",
    ),
    (["--model=BPR", "--dataset=ml-100k", "--valid_metric=MRR@10"], "valid_metric 'MRR@10'"),
    (["--resume=nowhere"], "nowhere is not a run's folder"),
    (["--resume=no\nwhere"], r"no\nwhere is not a run's folder"),
    (["prepare", "gowalla", "--source=nowhere"], "nowhere"),
    (["recommend", "--checkpoint=nowhere", "--users=1"], "nowhere is not a run's folder"),
    (["models", "--bogus"], "unknown argument '--bogus'; see --help"),
    (["recommend", "--checkpoint=X", "--topk=5"], "'--topk=5'; did you mean --k?"),
    (["recommend", "--checkpoint=X", "--retrievl=x"], "did you mean --retrieval?"),
    (["models", "--topk=5"], "unknown argument '--topk=5'; see --help"),
    (["table", "3", "--dry-run", "--epochs=abc"], "epochs must be an integer >= 0, got 'abc'"),
    (["table", "3", "--models=BPR", "--dataset=nowhere"], "prepare nowhere --source=PATH"),
    (["sweep", "--model=BPR", "--dataset=nowhere"], "prepare nowhere --source=PATH"),
    (["--model=BPR", "--dataset=ml-100k", "--log_wandb=x"], "log_wandb must be true or false"),
]


@pytest.mark.parametrize(("argv", "message"), BAD)
def test_errors_are_one_line_and_non_zero(argv, message, in_tmp, capsys):
    assert main(argv) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    # The number of items is known after the data are loaded, in the run's folder.
    assert not any(in_tmp.iterdir()) or "longer lists" in message


def test_errors_of_serving(run_folder, capsys, tmp_path):
    assert main(["recommend", f"--checkpoint={run_folder}", "--users=4711"]) == 1
    assert "user '4711' is not in tiny, which has 80 users" in capsys.readouterr().err
    assert main(["recommend", f"--checkpoint={run_folder}", "--users=1", "--k=0"]) == 1
    assert "--k must be an integer >= 1, got '0'" in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys, in_tmp):
    assert main(["--model=HIL", "--dataset=ml-100k", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_wrong_dataset_for_a_checkpoint(run_folder, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("split_seed: 2020", "split_seed: 1"))
    for name in ("serving.safetensors", "hashes.json"):  # older runs are served from the data
        (copy / name).unlink()
    assert main(["recommend", f"--checkpoint={copy}", "--users=1"]) == 1
    assert "was made on other data" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["serving.safetensors", "index.npz"])
def test_damaged_checkpoints_are_refused(run_folder, tmp_path, capsys, name):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    (copy / name).write_bytes((copy / name).read_bytes()[:100])
    assert main(["recommend", f"--checkpoint={copy}", "--users=1"]) == 1
    assert f"{name} was changed after the run" in capsys.readouterr().err
    (copy / HASHES).unlink()  # as in a run of an older version
    assert main(["recommend", f"--checkpoint={copy}", "--users=1"]) == 1
    assert f"{name} is not a whole" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["prepare", "-h"]])
def test_help_teaches(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "usage:" in out
    if argv[0] != "prepare":
        assert "--model=HILL --dataset=ml-100k" in out


def test_doctor_exit_status_is_the_doctors(monkeypatch):
    from recbole_hill.host import doctor

    for status in (0, 1):
        monkeypatch.setattr(doctor, "run", lambda stream, status=status: status)
        assert cli.main(["doctor"]) == status
