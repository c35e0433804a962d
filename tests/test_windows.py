"""The package is imported and runs where the modules of POSIX and Ray are missing: on Windows."""

import ast
import subprocess
import sys
from pathlib import Path

import recbole_hill

#: Imports every module of the package, and prints which of them need an extra that is missing.
IMPORT_ALL = """
import importlib, pkgutil, sys
import filelock, psutil  # they import modules of the system that they are on

for name in ("fcntl", "grp", "pwd", "resource", "termios", "ray"):  # Ray needs pwd on Linux
    sys.modules[name] = None

import recbole_hill

def fail(name):
    raise

for module in pkgutil.walk_packages(recbole_hill.__path__, "recbole_hill.", onerror=fail):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in ("gensim", "matplotlib", "ray", "torch_geometric"):
            raise
        print(module.name)
print(sum(name.startswith("recbole_hill.") for name in sys.modules))
"""


def test_every_module_is_imported_without_the_modules_of_posix_and_ray():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *skipped, imported = done.stdout.split()
    assert skipped == ["recbole_hill.experiments.sweep.ray_search"]
    assert int(imported) > 100


#: Folders whose files are read and written as UTF-8, whatever the system's encoding.
UTF8 = ("adapt", "data", "evaluation", "host", "index", "labelled", "model", "retrieval")
UTF8 += ("serve", "train")


def test_no_text_is_read_or_written_in_the_systems_encoding():
    """Windows' own encoding is often cp1252, which has no room for most ids."""
    unnamed = []
    for folder in UTF8:
        for file in (Path(recbole_hill.__file__).parent / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                binary = any(isinstance(text, str) and "b" in text for text in texts)
                opens = name == "open" and isinstance(node.func, ast.Name) and not binary
                if opens or name in ("read_text", "write_text"):
                    named = any(keyword.arg == "encoding" for keyword in node.keywords)
                    unnamed += [] if named else [f"{folder}/{file.name}:{node.lineno}"]
    assert not unnamed


#: Trains, resumes and exports where the system's encoding is ASCII, POSIX's modules and functions
#: are missing, and a process is started afresh (spawn), as on Windows.
RUN = """
import multiprocessing, os, signal, sys
import filelock, psutil, torch, pandas, subprocess, tempfile  # they ask for what their system has

for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("fork", "sched_getaffinity", "getuid", "killpg", "setsid"):
    delattr(os, name)
for name in ("SIGALRM", "SIGHUP", "SIGKILL"):
    delattr(signal, name)
multiprocessing.set_start_method("spawn")

from recbole_hill.data.prepare.convert import prepare
from recbole_hill.host import processes
from recbole_hill.pipeline import run
from recbole_hill.serve.export import export
from recbole_hill.serve.loaded_run import LoadedRun
import recbole_hill.run.provenance as provenance

provenance.peak_memory_mib = lambda: 1  # Windows asks psutil for what Linux does not tell
if __name__ == "__main__":
    settings = {"epochs": 1, "topk": [3], "valid_metric": "NDCG@3", "show_progress": False}
    settings |= {"state": "ERROR", "threads": 1}
    tree = {"nodes_per_depth": [4, 2], "adapt_control": [], "em_rounds": 0}
    for model, own in (("BPR", settings), ("HILL", {**settings, **tree})):
        result = run(model, "d", overrides={**own, "run_dir": model})
        again = run(resume=model)
        assert [row["metrics"] for row in again.rows] == [row["metrics"] for row in result.rows]
        user = "\\u0441\\u044a\\u0435\\u0448\\u044c \\U0001f600"
        lists = LoadedRun.load(model).recommend([user], 2)
        manifest = export(model, f"{model}-out", k=2)
        assert "recommendations.csv" in manifest["files"], manifest
        first = open(f"{model}-out/recommendations.csv", encoding="utf-8").readlines()[1]
        assert first.split(",")[0] == user, first
    print("done")
"""


def test_a_run_without_posix_in_another_encoding(tmp_path):
    folder = tmp_path / "dataset" / "d"
    folder.mkdir(parents=True)
    users = ["\u0441\u044a\u0435\u0448\u044c \U0001f600", *"vwxyz"]
    lines = ["user_id:token\titem_id:token"]
    lines += [f"{u}\t\u00fc{i}" for n, u in enumerate(users) for i in range(12) if (i + n) % 3]
    (folder / "d.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "go.py").write_text(RUN, encoding="utf-8")
    root = str(Path(recbole_hill.__file__).parents[1])
    environment = {"PYTHONPATH": root, "PATH": "", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    environment |= {"PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "go.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "done"
