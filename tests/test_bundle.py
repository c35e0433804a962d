"""Finished runs are served from their folders alone, with the lists that their models make."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_settings

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.model.bundle import BUNDLE, Bundle
from recbole_hill.pipeline import run
from recbole_hill.retrieval.choose import choose_retriever
from recbole_hill.retrieval.in_numpy import BeamSearch, ExactSearch, FaissSearch, best_places
from recbole_hill.serve.loaded_run import LoadedRun
from recbole_hill.serve.open_run import open_run
from recbole_hill.serve.vector_run import VectorRun

ROOT = Path(__file__).resolve().parents[1]
SEARCHES = [
    {},
    {"retrieval": "beam"},
    {"retrieval": "beam", "beam_width": [3, 2], "node_score": "best"},
    {"retrieval": "faiss"},
    {"retrieval": "faiss", "beam_width": "full"},
]


def same_lists(found, expected) -> bool:
    """Whether lists have the same items in the same order, with scores equal up to rounding."""
    return all(
        [item for item, _ in a] == [item for item, _ in b]
        and np.allclose([score for _, score in a], [score for _, score in b], rtol=1e-4, atol=1e-6)
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_a_bundle_gives_the_lists_of_the_model(run_folder, search):
    from_vectors, from_model = open_run(run_folder), LoadedRun.load(run_folder)
    assert isinstance(from_vectors, VectorRun)
    users = from_model.user_tokens.tolist()
    assert from_vectors.user_tokens.tolist() == users
    lists = from_vectors.recommend(users, 7, **search)
    assert same_lists(lists, from_model.recommend(users, 7, **search))
    if not search:
        assert all(len(listed) == 7 for listed in lists)


def test_a_bundle_explains_as_the_model_does(run_folder):
    assert open_run(run_folder).explain("42", 3) == LoadedRun.load(run_folder).explain("42", 3)


def test_a_bundle_comes_back_as_it_was(run_folder, tmp_path):
    made = LoadedRun.load(run_folder).bundle()
    read = Bundle.load(run_folder)
    assert read.about == made.about and read.about["model"] == "HILL"
    for name in ("user_vectors", "item_vectors", "seen_starts", "seen_items"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
    assert read.index.nodes_per_depth == made.index.nodes_per_depth == (12, 4)


def test_what_a_user_has_is_the_train_file(run_folder, tiny_path):
    bundle = Bundle.load(run_folder)
    lines = (tiny_path / "tiny" / "tiny.train.inter").read_text().splitlines()[1:]
    pairs = {tuple(line.split("\t")[:2]) for line in lines}
    held = {
        (user, bundle.ids.items[item])
        for row, user in enumerate(bundle.ids.users)
        for item in bundle.seen(row)
    }
    assert held == pairs


@pytest.fixture(scope="module")
def alone(run_folder, tmp_path_factory):
    """A run's folder as it is on another machine: without its data set and its weights."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    shutil.copytree(run_folder, folder)
    for weights in folder.glob("*.safetensors"):
        if weights.name != BUNDLE:
            weights.unlink()
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("data_path: /", "data_path: /nowhere/"))
    return folder


@pytest.mark.parametrize(
    "argv", [["recommend", "--users=3"], ["explain", "--user=3"], ["export", "--output=out"]]
)
def test_serving_imports_neither_recbole_nor_torch(alone, tmp_path, argv):
    program = (
        "import sys; from recbole_hill.cli import main; "
        f"status = main({[argv[0], f'--checkpoint={alone}', *argv[1:]]!r}); "
        "print({'recbole', 'torch', 'pandas'} & set(sys.modules), file=sys.stderr); "
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "set()"
    assert done.stdout


def test_a_changed_bundle_is_refused(alone, tmp_path):
    shutil.copytree(alone, tmp_path / "run")
    file, content = tmp_path / "run" / BUNDLE, bytearray((alone / BUNDLE).read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"serving\.safetensors was changed after the run"):
        open_run(tmp_path / "run")
    (tmp_path / "run" / "hashes.json").unlink()
    with pytest.raises(ValueError, match=r"serving\.safetensors was changed after it was saved"):
        open_run(tmp_path / "run")
    file.write_bytes(content[:100])
    with pytest.raises(ValueError, match=r"serving\.safetensors is not a whole serving file"):
        open_run(tmp_path / "run")
    file.unlink()
    file.symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"serving\.safetensors is not a whole serving file"):
        open_run(tmp_path / "run")


def test_a_bundle_that_is_gone_is_not_replaced_by_the_model(alone, tmp_path):
    shutil.copytree(alone, tmp_path / "run")
    (tmp_path / "run" / BUNDLE).unlink()
    with pytest.raises(ValueError, match=r"serving\.safetensors is not a whole serving file"):
        open_run(tmp_path / "run")


def test_a_user_without_a_train_item_gets_the_most_popular(run_folder):
    """As the run's evaluation ranks for him: items by their number of users, none he has."""
    bundle = Bundle.load(run_folder)
    cold = np.arange(len(bundle.ids.users)) == 3
    popularity = np.arange(48, 0, -1, dtype=np.float32)
    served = VectorRun(run_folder, replace(bundle, is_cold=cold, popularity=popularity))
    users = bundle.ids.users[[3, 4]].tolist()
    lists = served.recommend(users, 5)
    unseen = [row for row in range(48) if row not in bundle.seen(3)][:5]
    assert lists[0] == [(bundle.ids.items[row], float(48 - row)) for row in unseen]
    assert lists[1] == open_run(run_folder).recommend(users, 5)[1]


def test_best_places_by_hand():
    scores = np.array([1.0, 3.0, -np.inf, 3.0, 2.0, 3.0], dtype=np.float32)
    assert best_places(scores, 2).tolist() == [1, 3]
    assert best_places(scores, 4).tolist() == [1, 3, 5, 4]
    assert best_places(scores, 9).tolist() == [1, 3, 5, 4, 0]
    assert best_places(np.full(3, -np.inf), 2).tolist() == []


@pytest.mark.parametrize("kind", ["exact", "beam", "faiss"])
def test_ties_go_to_the_smallest_row_as_in_the_retrievers(kind):
    """Vectors of small whole numbers: scores are exact, and most of them equal."""
    rng = np.random.default_rng(0)
    items = rng.integers(-1, 2, (60, 4)).astype(np.float32)
    users = rng.integers(-1, 2, (25, 4)).astype(np.float32)
    parents = np.arange(60) % 9, np.arange(9) % 3
    index = HierarchicalIndex.build([str(i) for i in range(60)], parents, items)
    padded = torch.from_numpy(np.concatenate([np.zeros((1, 4), np.float32), items]))
    seen = [rng.choice(60, size=user % 40, replace=False) for user in range(25)]
    rows = torch.repeat_interleave(torch.arange(25), torch.tensor([len(s) for s in seen]))
    exclude = rows, torch.from_numpy(np.concatenate(seen)) + 1
    for width in ("full", 1, [4, 2]):
        settings = {} if kind == "exact" else {"beam_width": width, "node_score": "mean"}
        retriever = choose_retriever(kind, padded, index, **settings)
        expected = retriever.search(torch.from_numpy(users), 8, exclude)[1]
        search = {"exact": ExactSearch, "beam": BeamSearch, "faiss": FaissSearch}[kind](
            *((items,) if kind == "exact" else (index, items, width))
        )
        for user, ids in enumerate(expected):
            found = search.search(users[user], 8, seen[user])[1]
            assert found.tolist() == (ids[ids > 0] - 1).tolist()


# -- runs that their models serve -------------------------------------------------------------


def test_a_run_without_vectors_outlives_its_data_set(tiny_path, tmp_path):
    data = tmp_path / "dataset"
    shutil.copytree(tiny_path, data)
    settings = tiny_settings(data, "EASE", run_dir=str(tmp_path / "run"))
    folder = run("EASE", "tiny", overrides=settings).folder
    assert not (folder / BUNDLE).exists()
    file = data / "tiny" / "tiny.train.inter"
    users = ["0", "7", "42"]
    shutil.copytree(folder, tmp_path / "old", ignore=shutil.ignore_patterns("tables"))
    from_files = open_run(tmp_path / "old")  # as runs of older versions are served
    expected = from_files.recommend(users, 5)
    file.write_text(file.read_text() + "new\t3\n")
    (data / "tiny" / "tiny.manifest.json").unlink()
    with pytest.raises(ValueError, match="was made on other data"):
        open_run(tmp_path / "old")
    served = open_run(folder)
    assert served.recommend(users, 5) == expected
    assert served.data.sha256 == from_files.data.sha256
    shutil.rmtree(data)
    assert open_run(folder).recommend(users, 5) == expected


def test_runs_beside_each_other_share_their_tables(tiny_path, tmp_path):
    for seed in (1, 2):
        settings = tiny_settings(tiny_path, "EASE", run_dir=str(tmp_path / str(seed)), seed=seed)
        run("EASE", "tiny", overrides=settings)
    names = [sorted(file.name for file in (tmp_path / s / "tables").iterdir()) for s in "12"]
    assert names[0] == names[1] and len(names[0]) == 2
    tables = [next((tmp_path / s / "tables").glob("inter_feat-*.parquet")) for s in "12"]
    assert os.path.samefile(*tables)
    about = tmp_path / "1" / "tables" / "tables.json"
    about.write_text(about.read_text().replace('"user_id": "token"', '"user_id": "float"', 1))
    with pytest.raises(ValueError, match=r"tables\.json was changed after it was written"):
        open_run(tmp_path / "1")
    tables[0].write_bytes(b"changed")
    with pytest.raises(ValueError, match=r"inter_feat-.*\.parquet is missing or was changed"):
        open_run(tmp_path / "2")


def test_every_kind_of_column_comes_back_as_it_was_read(tmp_path):
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "kinds.inter").write_text(
        "user_id:token\titem_id:token\trating:float\n"
        + "".join(f"{u}\t{i}\t{u + i / 7}\n" for u in range(12) for i in range(6))
    )
    (tmp_path / "kinds" / "kinds.item").write_text(
        "item_id:token\tkind:token\ttags:token_seq\tweights:float_seq\n"
        "0\ta\tx y\t.1 .2\n1\t\t\t.3\n2\tNA\tz\t\n3\tb\tx\t1\n4\ta\ty\t2\n5\ta\tz\t3\n"
    )
    columns = {"inter": ["user_id", "item_id", "rating"]}
    columns["item"] = ["item_id", "kind", "tags", "weights"]
    settings = {"data_path": str(tmp_path), "load_col": columns, "topk": [3]}
    config = HillConfig("EASE", "kinds", None, {**settings, "valid_metric": "NDCG@3"})
    config["keep_tables"] = str(tmp_path / "run")
    from_files = load_data(config)
    config["keep_tables"], config["kept_tables"] = None, str(tmp_path / "run")
    shutil.rmtree(tmp_path / "kinds")
    from_tables = load_data(config)
    assert from_tables.sha256 == from_files.sha256
    for name in ("inter_feat", "item_feat"):
        read, kept = (getattr(data.dataset, name) for data in (from_files, from_tables))
        assert list(read.interaction) == list(kept.interaction)
        for field, column in read.interaction.items():
            assert torch.equal(column, kept[field]), field
    for name in ("field2type", "field2source", "field2seqlen"):
        assert getattr(from_files.dataset, name) == getattr(from_tables.dataset, name)
    for field, tokens in from_files.dataset.field2id_token.items():
        assert tokens.tolist() == from_tables.dataset.field2id_token[field].tolist()


@pytest.fixture(scope="module")
def cycle(tmp_path_factory):
    """Interactions on a circle of 20 items: after item n comes item n + 1."""
    root = tmp_path_factory.mktemp("cycle")
    (root / "cycle").mkdir()
    rng, lines = np.random.default_rng(0), ["user_id:token\titem_id:token\ttimestamp:float"]
    last = {}
    for user in range(60):
        first, length = rng.integers(0, 20), rng.integers(5, 10)
        lines += [f"u{user}\ti{(first + t) % 20}\t{1000 * user + t}" for t in range(length)]
        last[f"u{user}"] = int(first + length - 2)  # before the test item
    (root / "cycle" / "cycle.inter").write_text("\n".join(lines) + "\n")
    settings = {
        "data_path": str(root),
        "run_dir": str(root / "run"),
        "epochs": 20,
        "learning_rate": 0.01,
        "train_batch_size": 128,
        "MAX_ITEM_LIST_LENGTH": 4,
        "hidden_size": 16,
        "inner_size": 16,
        "n_layers": 1,
        "n_heads": 1,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": "user",
            "mode": "full",
        },
        "topk": [5],
        "valid_metric": "NDCG@5",
        "stopping_step": 100,
        "show_progress": False,
        "state": "ERROR",
        "threads": 1,
    }
    return run("SASRec", "cycle", overrides=settings), last, root


def test_a_sequential_model_recommends_what_follows_the_users_last_item(cycle):
    result, last, root = cycle
    shutil.move(root / "cycle", root / "away")
    served = open_run(result.folder)
    users = list(last)
    lists = served.recommend(users, 5)
    follows = [
        f"i{(last[user] + 1) % 20}" == row[0][0] for user, row in zip(users, lists, strict=True)
    ]
    assert np.mean(follows) > 0.9, np.mean(follows)
    assert result.rows[0]["metrics"]["ndcg@5"] > 0.8  # the item that follows is the test item
    seen = {(line[0], line[1]) for line in _rows(root / "away" / "cycle.inter")}
    tests = {(user, f"i{(last[user] + 1) % 20}") for user in users}
    assert not {(u, i) for u, row in zip(users, lists, strict=True) for i, _ in row} & (
        seen - tests
    )
    shutil.move(root / "away", root / "cycle")


def _rows(file: Path) -> list[list[str]]:
    return [line.split("\t") for line in file.read_text().splitlines()[1:]]
