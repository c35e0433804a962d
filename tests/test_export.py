"""Exported files, read back by what reads them elsewhere: csv, pyarrow, numpy, plain FAISS."""

import csv
import json
import shutil
import sys

import faiss
import numpy as np
import pyarrow.parquet
import pytest
import torch
from conftest import tiny_settings

from recbole_hill.cli import main
from recbole_hill.data.prepare.lightgcn import prepare
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.model.bundle import Bundle
from recbole_hill.pipeline import run
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.run.files import sha256_of
from recbole_hill.serve.export import export
from recbole_hill.serve.loaded_run import LoadedRun

RETRIEVALS = ("exact", "beam", "faiss")


@pytest.fixture(scope="module")
def served(run_folder):
    return LoadedRun.load(run_folder)


@pytest.fixture(scope="module")
def exported(run_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "all"
    return output, export(run_folder, output, k=5)


@pytest.fixture(scope="module")
def runs_of(tmp_path_factory):
    """Runs models on nine items, of which user 0 has seen all but one."""
    root = tmp_path_factory.mktemp("nine")
    train = ["0 0 1 2 3 4 5 6 7"]
    train += [f"{u} {u % 9} {(u + 1) % 9}" for u in range(1, 30)]
    (root / "train.txt").write_text("\n".join(train) + "\n")
    (root / "test.txt").write_text("".join(f"{u} {(u + 2) % 9}\n" for u in range(1, 30)))
    prepare("nine", root, root / "dataset")
    folders = {}

    def of(model: str):
        if model not in folders:
            settings = tiny_settings(root / "dataset", model, checkpoint_dir=str(root / "saved"))
            settings |= {"topk": [3], "valid_metric": "NDCG@3"}
            if "epochs" in settings:
                settings["epochs"] = 1
            folders[model] = run(model, "nine", overrides=settings).folder
        return folders[model]

    return of


def read_csv(path) -> dict[str, list[tuple[str, float]]]:
    """Returns each user's (item, score) in the file's order, ranks checked."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    lists = {}
    for row in rows:
        assert list(row) == ["user", "rank", "item", "score"]
        lists.setdefault(row["user"], []).append((row["item"], float(row["score"])))
        assert int(row["rank"]) == len(lists[row["user"]])
    return lists


def same_lists(found, expected) -> bool:
    """Whether items and scores are the same up to the rounding of a matrix product.

    Items whose scores differ by less than that may change places, the last with one left out.
    """

    def near(scores):
        return pytest.approx(scores, rel=1e-5, abs=1e-8)

    for a, b in zip(found, expected, strict=True):
        if [score for _, score in a] != near([score for _, score in b]):
            return False
        of_item = dict(b)
        if any(score != near(of_item.get(item, b[-1][1])) for item, score in a):
            return False
    return True


@pytest.mark.parametrize("retrieval", RETRIEVALS)
def test_recommend_gives_the_exported_lists(run_folder, served, tmp_path, retrieval):
    manifest = export(run_folder, tmp_path / "out", k=7, retrieval=retrieval)
    lists = read_csv(tmp_path / "out" / "recommendations.csv")
    users = served.user_tokens.tolist()
    assert list(lists) == users and {len(listed) for listed in lists.values()} == {7}
    expected = served.recommend(users, 7, retrieval=retrieval)
    assert same_lists(lists.values(), expected)
    assert manifest["lists"]["retrieval"] == retrieval


def test_beam_width_changes_the_lists(served):
    users = served.user_tokens.tolist()
    exact = served.recommend(users, 9, retrieval="exact")
    for retrieval in ("beam", "faiss"):
        full = served.recommend(users, 9, retrieval=retrieval, beam_width="full")
        assert same_lists(full, exact)
        one = served.recommend(users, 9, retrieval=retrieval, beam_width=[1, 1])
        assert {len(listed) for listed in one} == {9} and not same_lists(one, exact)
    assert same_lists(one, served.recommend(users, 9, retrieval="beam", beam_width=1))


def test_lists_are_the_best_unseen_by_the_exported_vectors(exported, tiny_path):
    output, manifest = exported
    users, items = (np.load(output / f"{kind}_embeddings.npy") for kind in ("user", "item"))
    ids = [(output / name).read_text().splitlines() for name in ("users.txt", "items.txt")]
    assert users.shape == (80, 16) and items.shape == (48, 16)
    assert users.dtype == items.dtype == np.float32
    assert sorted(ids[0], key=int) == [str(u) for u in range(80)] and len(set(ids[1])) == 48
    seen = np.zeros((80, 48), dtype=bool)
    for line in (tiny_path / "tiny" / "tiny.train.inter").read_text().splitlines()[1:]:
        user, item = line.split("\t")[:2]
        seen[ids[0].index(user), ids[1].index(item)] = True
    scores = np.where(seen, -np.inf, users @ items.T)
    lists = read_csv(output / "recommendations.csv")
    assert manifest["files"]["recommendations.csv"]["rows"] == 80 * 5
    for row, user in enumerate(ids[0]):
        best = np.argsort(-scores[row], kind="stable")[:5]
        assert [item for item, _ in lists[user]] == [ids[1][i] for i in best]
        np.testing.assert_allclose([s for _, s in lists[user]], scores[row, best], rtol=1e-5)


def test_plain_faiss_reads_the_index_and_finds_the_same(exported, run_folder, served):
    output, manifest = exported
    users, items = (np.load(output / f"{kind}_embeddings.npy") for kind in ("user", "item"))
    read = faiss.read_index(str(output / "index.faiss"))
    assert (read.ntotal, read.nlist, read.nprobe) == (48, 12, 2)
    assert manifest["files"]["index.faiss"]["nprobe"] == 2
    tree = HierarchicalIndex.load(output / "index.npz", items=served.item_tokens)
    assert tree.nodes_per_depth == (12, 4)
    means = [items[tree.parents[0] == node].mean(0) for node in range(12)]
    np.testing.assert_allclose(tree.vectors[0], means, rtol=1e-5, atol=1e-6)
    read.nprobe = 12
    scores, found = read.search(users, 48)
    np.testing.assert_array_equal(found, np.argsort(-(users @ items.T), kind="stable"))
    np.testing.assert_allclose(scores, -np.sort(-(users @ items.T)), rtol=1e-4, atol=1e-6)
    # As recommend makes its lists: what the user has seen is left out afterwards.
    seen = torch.zeros(80, 49, dtype=torch.bool)
    seen[served.seen(torch.arange(1, 81))] = True
    expected = served.recommend(served.user_tokens.tolist(), 5, retrieval="faiss", beam_width=12)
    for row, listed in enumerate(expected):
        unseen = [i for i in found[row].tolist() if not seen[row, i + 1]]
        assert [item for item, _ in listed] == served.item_tokens[unseen[:5]].tolist()


def test_parquet_holds_what_csv_holds(exported, run_folder, tmp_path):
    export(run_folder, tmp_path / "out", k=5, file_format="parquet")
    assert not (tmp_path / "out" / "recommendations.csv").exists()
    table = pyarrow.parquet.read_table(tmp_path / "out" / "recommendations.parquet")
    assert table.schema.names == ["user", "rank", "item", "score"]
    assert [str(type_) for type_ in table.schema.types] == ["string", "int32", "string", "float"]
    lists = {}
    for row in table.to_pylist():
        lists.setdefault(row["user"], []).append((row["item"], row["score"]))
        assert row["rank"] == len(lists[row["user"]])
    theirs = read_csv(exported[0] / "recommendations.csv")
    assert list(lists) == list(theirs)
    for user, listed in theirs.items():  # nine digits of a float32 are that float32
        assert lists[user] == [(item, float(np.float32(score))) for item, score in listed]


def test_the_manifest_tells_what_is_there(exported, run_folder, served):
    output, manifest = exported
    assert json.loads((output / "manifest.json").read_text()) == manifest
    assert {"manifest.json", *manifest["files"]} == {file.name for file in output.iterdir()}
    for name, facts in manifest["files"].items():
        assert facts["what"] and facts["sha256"] == sha256_of(output / name)
    assert manifest["files"]["user_embeddings.npy"]["shape"] == [80, 16]
    assert manifest["run"] == run_folder.name and manifest["model"] == "HILL"
    assert manifest["data_sha256"] == served.data.sha256 and manifest["protocol"] == "holdout"
    assert manifest["lists"] == {"k": 5, "retrieval": "exact"}
    assert manifest["metric"] == "inner product"
    assert manifest["exported_by"]["versions"]["torch"] == torch.__version__


def test_some_users_from_the_command_line(run_folder, in_tmp, capsys):
    arguments = ["export", f"--checkpoint={run_folder}", "--output=two", "--users=42, 17,42"]
    arguments += ["--retrieval=faiss", "--beam_width=[2, 1]", "--node_score=best"]
    assert main([*arguments, "--k=3"]) == 0
    out = capsys.readouterr().out
    assert "user_embeddings.npy" in out and out.endswith("kept in two\n")
    assert list(read_csv(in_tmp / "two" / "recommendations.csv")) == ["42", "17"]
    assert (in_tmp / "two" / "users.txt").read_text() == "42\n17\n"
    users = np.load(in_tmp / "two" / "user_embeddings.npy")
    served = LoadedRun.load(run_folder)
    np.testing.assert_array_equal(users, served.arrays[0][served.rows_of(["42", "17"])])
    manifest = json.loads((in_tmp / "two" / "manifest.json").read_text())
    search = {"retrieval": "faiss", "beam_width": [2, 1], "node_score": "best"}
    assert manifest["lists"] == {"k": 3, **search}
    main(["recommend", f"--checkpoint={run_folder}", "--users=42", "--k=3", "--retrieval=faiss"])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_an_old_export_is_kept_or_wholly_replaced(run_folder, exported, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(exported[0], output)
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    with pytest.raises(ValueError, match=r"out is not empty; --force writes over"):
        export(run_folder, output, k=3)
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before
    (output / "recommendations.parquet").write_text("of another export")
    (output / "mine.txt").write_text("not an export's")
    manifest = export(run_folder, output, k=3, force=True)
    assert {file.name for file in output.iterdir()} == {
        "mine.txt",
        "manifest.json",
        *manifest["files"],
    }
    assert {len(listed) for listed in read_csv(output / "recommendations.csv").values()} == {3}


@pytest.mark.parametrize("model", ["EASE", "NeuMF"])
def test_models_without_vectors_export_lists_only(runs_of, model, in_tmp, capsys):
    assert main(["export", f"--checkpoint={runs_of(model)}", "--output=out", "--k=50"]) == 0
    out = capsys.readouterr().out
    assert f"vectors: none: {model}'s score is no inner product" in out
    names = {file.name for file in (in_tmp / "out").iterdir()}
    assert names == {"recommendations.csv", "manifest.json"}
    lists = read_csv(in_tmp / "out" / "recommendations.csv")
    # k is larger than the catalogue, and user 0 has seen all but item 8.
    assert [item for item, _ in lists["0"]] == ["8"]
    assert [len(listed) for listed in lists.values()] == [1] + [7] * 29
    for message, arguments in {
        "retrieval beam needs an index, which the run in": ["--retrieval=beam"],
        "beam_width is for retrieval beam and faiss, got 3 with exact": ["--beam_width=3"],
    }.items():
        call = ["recommend", f"--checkpoint={runs_of(model)}", "--users=1", *arguments]
        assert main(call) == 1 and message in capsys.readouterr().err


@pytest.mark.parametrize("model", ["BPR", "recbole.BPR"])
def test_vectors_without_an_index(runs_of, model, in_tmp, capsys):
    folder = runs_of(model)
    assert main(["export", f"--checkpoint={folder}", "--output=out"]) == 0
    names = {file.name for file in (in_tmp / "out").iterdir()}
    assert "user_embeddings.npy" in names and not {"index.npz", "index.faiss"} & names
    capsys.readouterr()
    for k, expected in ((4, 4), (50, 7)):
        assert main(["recommend", f"--checkpoint={folder}", "--users=0,5", f"--k={k}"]) == 0
        rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert [row[0] for row in rows] == ["0"] + ["5"] * expected
        assert rows[0][1:3] == ["1", "8"]  # user 0 has seen all but item 8
        assert not {"5", "6"} & {row[2] for row in rows[1:]}
    assert main(["recommend", f"--checkpoint={folder}", "--users=1", "--retrieval=faiss"]) == 1
    assert "retrieval faiss needs an index" in capsys.readouterr().err


@pytest.mark.parametrize("retrieval", RETRIEVALS)
def test_everything_seen_under_every_retrieval(run_folder, retrieval, in_tmp, monkeypatch, capsys):
    def all_of_the_first(bundle, user):
        return np.arange(48 if bundle.ids.users[user] == "3" else 0)

    monkeypatch.setattr(Bundle, "seen", all_of_the_first)
    for command in (["recommend"], ["export", "--output=out"]):
        arguments = [f"--checkpoint={run_folder}", "--users=3,4", f"--retrieval={retrieval}"]
        assert main([*command, *arguments, "--k=100"]) == 0
        if command == ["recommend"]:
            rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {row[0] for row in rows} == {"4"} and (retrieval != "exact" or len(rows) == 48)
    lists = read_csv(in_tmp / "out" / "recommendations.csv")
    assert list(lists) == ["4"] and [i for i, _ in lists["4"]] == [row[2] for row in rows]


def test_everything_seen_without_vectors(runs_of, monkeypatch):
    served = LoadedRun.load(runs_of("EASE"))
    everything = torch.zeros(9, dtype=torch.int64), torch.arange(1, 10)
    monkeypatch.setattr(LoadedRun, "seen", staticmethod(lambda users: everything))
    assert [len(listed) for listed in served.recommend(["3", "4"], 5)] == [0, 5]


def test_node_score_is_what_the_search_goes_by(served):
    users, items = served.vectors
    seen = served.seen(torch.arange(1, len(users)))
    ids = torch.arange(1, len(items))
    index = served.index.refreshed(items[1:].numpy())  # items moved after it was learnt
    listed = {}
    for score in ("mean", "best"):
        beam = BeamRetriever(index, items[1:], ids, beam_width=(3, 2), node_score=score)
        expected = beam.search(users[1:], 5, seen)[1]
        asked = {"retrieval": "beam", "beam_width": (3, 2), "node_score": score}
        lists = served.recommend(served.user_tokens.tolist(), 5, **asked)
        listed[score] = [[item for item, _ in found] for found in lists]
        rows = [found[found > 0].numpy() - 1 for found in expected]
        assert listed[score] == [served.item_tokens[found].astype(str).tolist() for found in rows]
    assert listed["mean"] != listed["best"]


BAD = [
    (["--k=0"], "--k must be an integer >= 1, got '0'"),
    (["--users=1,4711"], "user '4711' is not in tiny, which has 80 users"),
    (["--users=[PAD]"], "user '[PAD]' is not in tiny"),
    (["--users= , "], "--users must be names separated by commas, got ' , '"),
    (["--retrieval=hnsw"], "retrieval must be one of exact, beam, faiss, got 'hnsw'"),
    (["--retrieval=beam", "--beam_width=0"], "--beam_width must be an integer >= 1"),
    (["--retrieval=faiss", "--beam_width=wide"], "got 'wide'"),
    (["--retrieval=faiss", "--beam_width=[1,2,3]"], "beam_width must be a positive integer"),
    (["--beam_width=2"], "beam_width is for retrieval beam and faiss, got 2 with exact"),
    (["--node_score=best"], "node_score is for retrieval beam and faiss, got best with exact"),
    (["--retrieval=beam", "--node_score=max"], "node_score must be one of mean, best, got 'max'"),
]


@pytest.mark.parametrize("command", ["recommend", "export"])
@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_requests(run_folder, in_tmp, capsys, command, arguments, message):
    defaults = {"recommend": ["--users=1"], "export": ["--output=out"]}[command]
    if arguments[0].startswith("--users"):
        defaults = [each for each in defaults if not each.startswith("--users")]
    assert main([command, f"--checkpoint={run_folder}", *defaults, *arguments]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (in_tmp / "out").exists()


def test_bad_exports(run_folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="format must be one of csv, parquet, got 'json'"):
        export(run_folder, tmp_path / "out", file_format="json")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file; it must be a folder"):
        export(run_folder, tmp_path / "file")
    with pytest.raises(ValueError, match="is a run's folder; export somewhere else"):
        export(run_folder, run_folder, force=True)
    with pytest.raises(FileNotFoundError, match="is not a run's folder"):
        export(tmp_path, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ImportError, match=r"export to Parquet needs pyarrow.*constraints.txt pyarrow$"
    ):
        export(run_folder, tmp_path / "out", file_format="parquet")
    assert not (tmp_path / "out").exists()


def test_diverged_vectors_are_named_by_their_external_ids(run_folder):
    served = LoadedRun.load(run_folder)
    with torch.no_grad():
        served.model.backbone.item_embedding.weight[3] = torch.nan
        served.model.backbone.user_embedding.weight[:] = 0
    message = r"(user|item) embeddings must be finite, but \d+ of (80|48) are not \(id '\d+'"
    with pytest.raises(ValueError, match=message):
        served.recommend(["1"], 3)


def test_help_teaches_export(capsys):
    for command in ("export", "recommend"):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert f"run_recbole_hill.py {command} --checkpoint=saved/RUN" in out
        assert "exact | beam | faiss" in out
