"""A study on Ray: the same rows as here, whatever happens to a node."""

import os
import time
from pathlib import Path

import pytest
from test_study import Known, tiny_study

from recbole_hill.experiments.ray_session import checkout_path, start_ray
from recbole_hill.experiments.study.paper_table import PaperTable
from recbole_hill.experiments.study.plan import plan
from recbole_hill.experiments.study.runner import Outcome, run_studies
from recbole_hill.experiments.study.workers import LocalWorkers, RayWorkers
from recbole_hill.run.ledger import ledger_of

pytest.importorskip("ray", reason="Ray is not installed: the extra `tune` brings it")

#: Of a row, what two runs of one cell have in common.
_SAME = ("model", "dataset", "data_sha256", "seed", "arm", "metrics", "versions")


def results(study) -> dict:
    cells = ledger_of(study.folder).records().values()
    return {c["row"]: [{key: row[key] for key in _SAME} for row in c["rows"]] for c in cells}


def test_other_processes_find_this_code(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"/a{os.pathsep}/b")
    ours, *others = checkout_path().split(os.pathsep)
    assert (Path(ours) / "recbole_hill" / "__main__.py").is_file() and others == ["/a", "/b"]


@pytest.mark.slow
def test_rays_workers_look_for_modules_in_no_working_folder(in_tmp):
    (in_tmp / "queue.py").write_text("raise KeyError('mine')\n")
    ray = start_ray("local", 1, "--ray_address")
    try:
        paths = ray.get(ray.remote(lambda: __import__("sys").path).remote())
    finally:
        ray.shutdown()
    assert not {"", ".", str(in_tmp)} & set(paths)
    assert Path.cwd() == in_tmp


@pytest.mark.slow
def test_ray_runs_a_cell_and_its_record_comes_back(tiny_path, in_tmp):
    """The cell fails at once, since it starts from a failed one: no model is trained."""
    study = plan(
        PaperTable.read("7"),
        "tiny",
        root=in_tmp,
        rows=[".8/.1"],
        settings={"data_path": str(tiny_path)},
    )
    backbone, cell = study.cells
    failed = {"cell": backbone.id, "row": "backbone", "seed": backbone.seed}
    failed |= {"status": "failed", "error": "no disk"}
    ledger_of(study.folder).append(failed)
    assert run_studies([study], RayWorkers("local", 1, 1), Known({})) == Outcome(0, 2, 0)
    record = ledger_of(study.folder).records()[cell.id]
    assert record["error"] == "backbone, which it starts from, failed: no disk"
    assert record["declared_memory_mib"] == 100


@pytest.mark.slow
def test_local_ray_makes_the_rows_that_processes_make(tiny_path, in_tmp):
    rows = ["Pop", "ItemKNN"]
    here = tiny_study(tiny_path, in_tmp / "here", rows)
    there = tiny_study(tiny_path, in_tmp / "there", rows)
    assert run_studies([here], LocalWorkers(2, 1), Known({})) == Outcome(2, 0, 0)
    assert run_studies([there], RayWorkers("local", 2, 1), Known({})) == Outcome(2, 0, 0)
    assert results(here) == results(there)


@pytest.mark.slow
def test_a_node_that_dies_costs_its_cells_alone(tiny_path, in_tmp):
    """Two raylets on loopback; the one that runs a cell is killed in the middle of it."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
    settings = {"epochs": 300, "stopping_step": 300}
    here = tiny_study(tiny_path, in_tmp / "here", ["BPR", "Pop", "ItemKNN"], **settings)
    study = tiny_study(tiny_path, in_tmp / "there", ["BPR", "Pop", "ItemKNN"], **settings)
    head = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1") for _ in range(2)]
    try:
        workers = RayWorkers(cluster.address, 2, 1)
        submit, killed = workers.submit, []

        def submit_and_kill(folder, cell, memory):
            future = submit(folder, cell, memory)
            if cell.row == "BPR":
                state = Path(folder) / "runs" / cell.id / "state.pt"
                end = time.monotonic() + 120
                while not state.exists() and time.monotonic() < end:
                    time.sleep(0.1)
                for node in nodes:  # the one whose only CPU is taken by the cell
                    if not killed and _is_busy(ray, node):
                        killed.append(node)
                        cluster.remove_node(node, allow_graceful=False)
            return future

        workers.submit = submit_and_kill
        assert run_studies([study], workers, Known({"BPR": 0.1})) == Outcome(3, 0, 0)
        assert len(killed) == 1
    finally:
        cluster.shutdown()
    (bpr,) = (e for e in ledger_of(study.folder).records().values() if e["row"] == "BPR")
    assert "resuming backbone" in (study.folder / bpr["run_dir"] / "run.log").read_text()
    assert run_studies([here], LocalWorkers(1, 1), Known({})) == Outcome(3, 0, 0)
    assert results(here) == results(study)  # resumed equals uninterrupted


def _is_busy(ray, node) -> bool:
    from ray._private.state import available_resources_per_node

    return not available_resources_per_node().get(node.node_id, {}).get("CPU", 0)
