"""A study on Ray: the same rows as here, whatever happens to a node."""

import os
import time
from pathlib import Path

import pytest
from test_study import Known, tiny_study

from recbole_hill.experiments.study.runner import Outcome, run_studies
from recbole_hill.experiments.study.workers import LocalWorkers, RayWorkers
from recbole_hill.run.ledger import Ledger

pytest.importorskip("ray", reason="Ray is not installed: the extra `tune` brings it")

#: Of a row, what two runs of one cell have in common.
_SAME = ("model", "dataset", "data_sha256", "seed", "arm", "metrics", "versions")


def results(study) -> dict:
    entries = Ledger(study.folder).entries().values()
    return {e["row"]: [{key: row[key] for key in _SAME} for row in e["rows"]] for e in entries}


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
    (bpr,) = (e for e in Ledger(study.folder).entries().values() if e["row"] == "BPR")
    assert "resuming backbone" in (study.folder / bpr["run_dir"] / "run.log").read_text()
    assert run_studies([here], LocalWorkers(1, 1), Known({})) == Outcome(3, 0, 0)
    assert results(here) == results(study)  # resumed equals uninterrupted


def _is_busy(ray, node) -> bool:
    from ray._private.state import available_resources_per_node

    return not available_resources_per_node().get(node.node_id, {}).get("CPU", 0)
