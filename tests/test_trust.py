"""Files that were changed, swapped or linked after a run, and folders that two processes want."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pandas
import pytest
from conftest import tiny_settings
from studies import DEFINITION, cell, made, write_per_user, write_study

from recbole_hill.cli import main
from recbole_hill.evaluation.per_user import PER_USER
from recbole_hill.experiments import ray_session
from recbole_hill.experiments.study.folder import claim
from recbole_hill.experiments.study.run_cell import _folder_of
from recbole_hill.experiments.sweep.trial import Trials, trial_id
from recbole_hill.model.bundle import BUNDLE
from recbole_hill.pipeline import run
from recbole_hill.report import cells as module
from recbole_hill.report.document import is_better
from recbole_hill.report.markdown import markdown
from recbole_hill.report.page import page
from recbole_hill.report.seeds import read_rows, seeds_table
from recbole_hill.report.study import study_table
from recbole_hill.report.tables import arms_table
from recbole_hill.report.write import write_report
from recbole_hill.run.files import LOCK, alone_in, atomic_path, open_to_write, path_inside
from recbole_hill.run.folder import BACKBONE, CONFIG, INDEX, LOG, ROWS, STAGES, served_weights
from recbole_hill.run.hashes import HASHES, changed_files
from recbole_hill.run.ledger import ledger_of
from recbole_hill.serve.export import export
from recbole_hill.serve.loaded_run import LoadedRun


@pytest.fixture(autouse=True)
def definitions(monkeypatch):
    monkeypatch.setattr(module, "definition_of", lambda _: DEFINITION)


@pytest.fixture(scope="module")
def finished(tiny_path, tmp_path_factory):
    """Folders of two finished runs of BPR that differ in their seed."""
    root = tmp_path_factory.mktemp("saved")
    settings = tiny_settings(tiny_path, "BPR", epochs=1)
    return [
        run("BPR", "tiny", overrides={**settings, "seed": s, "run_dir": str(root / str(s))}).folder
        for s in (1, 2)
    ]


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


# -- what was changed after the run ---------------------------------------------------------------


def test_a_finished_run_notes_the_hashes_of_its_files(finished):
    noted = json.loads((finished[0] / HASHES).read_text())["sha256"]
    assert {CONFIG, ROWS, STAGES, BACKBONE, PER_USER, "ids.json"} <= noted.keys()
    assert not {LOG, "state.pt", HASHES} & noted.keys()
    assert changed_files(finished[0]) == []


def test_swapped_weights_are_not_served(finished, copy, capsys):
    for name in (BACKBONE, BUNDLE):
        shutil.copy(finished[1] / name, copy / name)
    for command in (
        ["recommend", f"--checkpoint={copy}", "--users=1"],
        ["export", f"--checkpoint={copy}", f"--output={copy.parent / 'out'}"],
        [f"--resume={copy}"],
    ):
        assert main(command) == 1
        changed = BACKBONE if "--resume" in command[0] else BUNDLE
        assert f"{copy / changed} was changed after the run" in capsys.readouterr().err
    assert not (copy.parent / "out").exists()
    (copy / HASHES).unlink()  # a run of an older version has none, and is read as before
    assert LoadedRun.load(copy).recommend(["1"], 3)


def test_a_swapped_index_is_not_served(run_folder, tmp_path):
    copy = shutil.copytree(run_folder, tmp_path / "copy")
    LoadedRun.load(copy).index.refreshed(LoadedRun.load(copy).vectors[1][1:].numpy() * 2).save(
        copy / INDEX
    )
    with pytest.raises(ValueError, match=r"index\.npz was changed after the run"):
        LoadedRun.load(copy)


def test_edited_rows_are_left_out_and_named_and_resume_makes_them_again(finished, copy, capsys):
    before = (copy / ROWS).read_text()
    row = json.loads(before)
    row["metrics"]["recall@10"] = 0.99
    (copy / ROWS).write_text(json.dumps(row) + "\n")
    assert main(["report", str(finished[1]), str(copy)]) == 0
    shown = capsys.readouterr().out
    assert f"- **Left out**: rows of {copy} were changed after the run" in shown.splitlines()
    assert "0.99" not in shown and "seeds 2," in shown
    assert main(["report", str(copy / ROWS)]) == main(["report", str(copy)]) == 1
    assert f"rows of {copy} were changed after the run" in capsys.readouterr().err
    assert main([f"--resume={copy}"]) == 0
    assert read_rows([copy])[0]["metrics"] == json.loads(before)["metrics"]
    assert changed_files(copy) == []


def test_an_edited_config_is_not_resumed_and_serving_says_so(copy, capsys):
    text = (copy / CONFIG).read_text()
    (copy / CONFIG).write_text(text.replace("learning_rate:", "# x\nlearning_rate:"))
    with pytest.warns(UserWarning, match=r"config\.yaml was changed after the run"):
        LoadedRun.load(copy)
    assert main([f"--resume={copy}"]) == 1
    assert "config.yaml was changed after the run" in capsys.readouterr().err


def test_damaged_hashes_are_one_line(copy):
    for text in ("{", '{"sha256": 3}', "[]"):
        (copy / HASHES).write_text(text)
        with pytest.raises(ValueError, match=r"hashes\.json does not list the hashes"):
            LoadedRun.load(copy)


def test_edited_values_per_user_are_not_tested(tmp_path):
    values = {"NESCL": [0.1, 0.2, 0.3, 0.4], "BPR": [0.2, 0.4, 0.6, 0.9]}
    cells = [cell(name, [made(name, sum(v) / 4)]) for name, v in values.items()]
    study = write_study(tmp_path, cells, seeds=(1,))
    for each in cells:
        write_per_user(study, each, {each["row"]: values[each["row"]]})
    run_folder = study / cells[1]["run_dir"]
    (run_folder / HASHES).write_text(json.dumps({"sha256": {PER_USER: "0" * 64}}))
    text = markdown(study_table(module.read_study(study)))
    assert "**Not tested**: BPR, seed 1:" in text and "was changed after the run" in text
    (run_folder / HASHES).unlink()
    write_per_user(study, cells[1], {"BPR": [0.1, 0.2, float("nan"), 0.4]})
    text = markdown(study_table(module.read_study(study)))
    assert "per_user.parquet holds values that are no finite numbers" in text
    write_per_user(study, cells[1], {"BPR": values["BPR"]})
    assert "Not tested" not in markdown(study_table(module.read_study(study)))


# -- paths that a file names ----------------------------------------------------------------------


def test_a_path_leads_out_of_no_folder(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "loop").symlink_to(inside / "loop")
    assert path_inside(inside, "runs/a") == inside / "runs" / "a"
    for name in ("../out", str(outside), "link", "link/x", "runs/../../out", "a\0b"):
        with pytest.raises(ValueError, match="leads out of that folder"):
            path_inside(inside, name)


def test_a_study_reads_no_run_outside_its_folder(tmp_path, run_folder):
    away = tmp_path / "away"
    shutil.copytree(run_folder, away)
    named = cell("HILL", [made("HILL", 0.3)], run_dir="../away")
    study = write_study(tmp_path / "study", [named, cell("BPR", [made("BPR", 0.1)])], seeds=(1,))
    text = page(study)
    assert "&#39;../away&#39;" in text and "leads out of that folder" in text
    assert "<h2>The index</h2>" not in text
    ledger_of(study).append(named)
    with pytest.raises(ValueError, match="leads out of that folder"):
        _folder_of(study, named["cell"], tmp_path)


def test_a_run_serves_no_weights_outside_its_folder(finished, copy):
    stages = json.loads((copy / STAGES).read_text())
    stages["backbone"]["serves"] = f"../../{finished[1].parent.name}/2/{BACKBONE}"
    (copy / STAGES).write_text(json.dumps(stages))
    with pytest.raises(ValueError, match="leads out of that folder"):
        served_weights(copy)
    (copy / STAGES).write_text("[1]")
    with pytest.raises(ValueError, match=r"stages\.json must hold an object"):
        served_weights(copy)


def test_a_sweep_removes_no_weights_through_a_link(tmp_path):
    sweep, away = tmp_path / "sweep", tmp_path / "away"
    (sweep / "trials").mkdir(parents=True)
    away.mkdir()
    (sweep / "trials" / trial_id({"a": 1})).symlink_to(away)
    with pytest.raises(ValueError, match="leads out of that folder"):
        Trials("BPR", "tiny", sweep).run_dir({"a": 1})


# -- links, locks, leftovers ----------------------------------------------------------------------


def test_nothing_is_written_through_a_link(tiny_path, tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (LOCK, LOG, "tensorboard"):
        folder = tmp_path / f"run-{name}"
        folder.mkdir()
        (folder / name).symlink_to(victim)
        settings = tiny_settings(tiny_path, "BPR", epochs=1, run_dir=str(folder))
        with pytest.raises(ValueError, match=rf"{name} is a symbolic link"):
            run("BPR", "tiny", overrides=settings)
    study = write_study(tmp_path / "linked", [cell("BPR", [made("BPR", 0.1)])], seeds=(1,))
    (study / "report").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="report is a symbolic link"):
        write_report(study)
    ledger = ledger_of(tmp_path / "study")
    ledger.file.parent.mkdir()
    ledger.file.symlink_to(victim)
    with pytest.raises(ValueError, match=r"cells\.jsonl is a symbolic link"):
        ledger.append({"cell": "a", "status": "done"})
    (tmp_path / "study" / "runs").mkdir()
    (tmp_path / "study" / "runs" / "a.lock").symlink_to(victim)
    with (
        pytest.raises(ValueError, match=r"a\.lock is a symbolic link"),
        claim(ledger.file.parent, "a"),
    ):
        pass
    # A file that becomes a link between the look and the opening is refused by the system.
    monkeypatch.setattr("recbole_hill.run.files.refuse_link", lambda path: None)
    with pytest.raises(ValueError, match="is a symbolic link"):
        open_to_write(ledger.file, "a")
    assert victim.read_text() == "mine"


HOLDER = """
import sys, time
from pathlib import Path
from recbole_hill.run.files import alone_in
with alone_in(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_process(tiny_path, tmp_path, finished, capsys):
    folder, output = tmp_path / "run", tmp_path / "out"
    for held in (folder, output):
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, held], stdout=subprocess.PIPE)
        try:
            assert holder.stdout.readline() == b"held\n"
            if held == folder:
                given = tiny_settings(tiny_path, "BPR", epochs=1, run_dir=str(folder))
                with pytest.raises(ValueError, match="another process is running in"):
                    run("BPR", "tiny", overrides=given)
                assert [file.name for file in folder.iterdir()] == [LOCK]
            else:
                with pytest.raises(ValueError, match="another export is writing to"):
                    export(finished[0], output)
        finally:
            holder.kill()
            holder.wait()
    export(finished[0], output)  # the lock of a killed process holds nobody


def test_leftovers_of_a_killed_process_are_swept_and_nothing_else(tmp_path):
    with pytest.raises(OSError), atomic_path(tmp_path / "rows.jsonl") as temporary:
        name = temporary.name
        raise OSError
    (tmp_path / name).write_text("half")
    others = [".hidden", "notes.tmp", ".rows.jsonl.tmp", ".a.UPPER123.tmp"]
    for other in others:
        (tmp_path / other).write_text("mine")
    with alone_in(tmp_path, "busy"):
        assert not (tmp_path / name).exists()
    assert {file.name for file in tmp_path.iterdir()} == {*others, LOCK}


# -- sampled evaluation ---------------------------------------------------------------------------


def sampled(name: str, value: float, mode: str = "uni100") -> dict:
    return made(name, value, candidates=mode)


def test_sampled_evaluation_is_marked_unranked_and_untested(tmp_path):
    rows = [made("NESCL", 0.2), sampled("BPR", 0.9), made("EASE", 0.3)]
    cells = [cell(row["model"], [row]) for row in rows]
    study = write_study(tmp_path, cells, seeds=(1,))
    for each in cells:
        write_per_user(
            study, each, {each["row"]: [0.1, 0.2, each["rows"][0]["metrics"]["recall@20"]]}
        )
    table = study_table(module.read_study(study))
    text = markdown(table)
    assert "| BPR (uni100) [1] | 0.9000 |" in text and "| EASE | **0.3000**" in text
    assert "**Sampled evaluation**: `uni100` ranks test items among drawn items" in text
    assert "Not tested, for they rank among other items than NESCL (full): BPR." in text
    tested = {line.name: line.numbers[0].t_p for line in table.lines}
    assert tested["BPR"] is None and tested["EASE"] is not None
    assert "BPR (uni100)" in page(study)
    assert is_better("recall@20", 0.9, 0.3)  # the rank is left out, not lost


def test_every_table_says_that_evaluation_was_sampled():
    row = sampled("BPR", 0.3)
    assert "sampled evaluation: uni100" in arms_table([row])
    assert "- **Sampled evaluation**: `uni100`" in seeds_table([row])
    assert "ampled" not in arms_table([made("BPR", 0.3)]) + seeds_table([made("BPR", 0.3)])


def test_a_row_records_what_it_is_ranked_among(finished):
    assert read_rows(finished)[0]["candidates"] == "full"
    assert pandas.read_parquet(finished[0] / PER_USER).columns[0] == "arm"
    assert os.path.lexists(finished[0] / LOCK)


@pytest.mark.parametrize("address", [None, "local", "127.0.0.1:6379"])
def test_ray_listens_on_loopback_alone(monkeypatch, address):
    """Without the variable, Ray takes the machine's outer address for 127.0.0.1."""
    asked = {}
    fake = SimpleNamespace(init=lambda **options: asked.update(options))
    monkeypatch.setattr(ray_session, "require", lambda *_, **__: fake)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    ray_session.start_ray(address, 1, "a test")
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    ours = asked["address"] == "local"
    assert asked.get("_node_ip_address") == ("127.0.0.1" if ours else None)
    assert asked.get("include_dashboard") is (False if ours else None)
