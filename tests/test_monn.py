"""MoNN: its modules by hand, and what every model of labelled impressions must do."""

import json
from pathlib import Path

import impressions
import numpy as np
import pandas as pd
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data, note_data
from recbole_hill.labelled import cost
from recbole_hill.labelled.cost import pair_flops
from recbole_hill.labelled.search import ExhaustiveSearch
from recbole_hill.labelled.towers.overarch import OVERARCHES, OverArch
from recbole_hill.labelled.towers.sizes import SIZES, Part, size_of
from recbole_hill.labelled.towers.tower import TowerLayer
from recbole_hill.model.build import build_model
from recbole_hill.pipeline import run
from recbole_hill.serve.export import export
from recbole_hill.serve.loaded_run import LoadedRun
from recbole_hill.train.trainer import trainer_for

NAMES = ("MoNN", "TTSN", "EBR", "HSNN")
#: What makes each of them small.
SMALL = {
    "EBR": {"nodes_per_depth": [12], "beam_width": 3},
    "HSNN": {
        "hsnn_layers": [{"size": "M", "nodes": 6}, {"size": "S"}],
        "beam_width": 3,
        "item_epochs": 1,
    },
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return impressions.write(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def runs(path, tmp_path_factory):
    """A finished run of each model."""
    root = tmp_path_factory.mktemp("runs")
    found = {}
    for name in NAMES:
        changes = {"run_dir": str(root / name), **SMALL.get(name, {})}
        found[name] = run(name, "log", overrides=impressions.settings(path, **changes))
    return found


def built(name, path, **changes):
    settings = impressions.settings(path, **{**SMALL.get(name, {}), **changes})
    config = HillConfig(name, "log", None, settings)
    data = load_data(config)
    if config["run_dir"]:
        note_data(Path(config["run_dir"]), data.sha256)
    return build_model(config, data), data


# -- modules ---------------------------------------------------------------------------------------


def test_table_5():
    assert [(s.user, s.item, s.interaction) for s in SIZES.values()] == [
        (Part(1, 40), Part(1, 40), Part(0, 40)),
        (Part(8, 40), Part(1, 40), Part(1, 40)),
        (Part(10, 48), Part(4, 48), Part(1, 48)),
        (Part(30, 48), Part(8, 48), Part(1, 48)),
        (Part(80, 96), Part(4, 96), Part(1, 96)),
    ]
    half = size_of("XL", 0.25)
    assert half.user == Part(40, 48) and half.layers == SIZES["XL"].layers
    assert (half.tokens, size_of("S", 0.01).tokens, size_of("XS", 0.01).tokens) == (8, 1, 0)
    for name, scale in (("XXL", 1), ("S", 0), ("S", "big")):
        with pytest.raises(ValueError, match="must be"):
            size_of(name, scale)


def test_tower_layer_by_hand():
    torch.manual_seed(0)
    layer, fields = TowerLayer(3, 2, 4), torch.randn(5, 3, 4)
    deep = torch.relu(layer.deep[0](fields.flatten(1))).view(5, 2, 4)
    expected = torch.zeros(5, 2, 4)
    for row in range(5):
        pairs = [fields[row, i] * fields[row, j] for i, j in ((0, 1), (0, 2), (1, 2))]
        scores = torch.stack([layer.attention(pair) for pair in pairs])  # (3, 2)
        for out in range(2):
            weights = scores[:, out].softmax(0)
            picked = sum(w * pair for w, pair in zip(weights, pairs, strict=True))
            kept = sum(layer.shortcut.weight[out, f] * fields[row, f] for f in range(3))
            expected[row, out] = picked + kept + deep[row, out]
    torch.testing.assert_close(layer(fields), layer.norm(expected))


@pytest.mark.parametrize("kind", OVERARCHES)
def test_over_arches_tell_what_no_sum_of_sides_can(kind):
    """Learns the sign of a product of a user's and an item's number: a pure interaction."""
    torch.manual_seed(0)
    arch = OverArch((Part(2, 4), Part(1, 6)), 1, kind, 1, 4)
    users, items = torch.randn(512, 2, 4), torch.randn(512, 1, 6)
    labels = (users[:, 0, 0] * items[:, 0, 0] > 0).float()
    optimizer = torch.optim.Adam(arch.parameters(), lr=0.02)
    for _ in range(150):
        logits = arch((users, items.unsqueeze(1)))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0, 0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert logits.shape == (512, 1, 1)
    assert loss < 0.35  # .69 without the interaction


def test_dhen_by_hand():
    torch.manual_seed(0)
    network, d = OVERARCHES["dhen"](2, 3, 4, 1, 2, 2), 4
    users, beside = torch.randn(5, 2, d), torch.randn(5, 7, 3, d)
    order = [(0, 1), *((i, j) for i in (2, 3, 4) for j in (0, 1)), (2, 3), (2, 4), (3, 4)]
    for row, place in ((0, 0), (3, 6)):
        tokens = torch.cat((users[row], beside[row, place]))  # (5, d)
        for layer in (network.first, *network.layers):
            pairs = order if layer is network.first else [(0, 1)]
            dots = torch.stack([tokens[i] @ tokens[j] for i, j in pairs])
            found = layer.products.weight @ dots + layer.products.bias
            found = found + (layer.deep.weight @ tokens.flatten() + layer.deep.bias).clamp_min(0)
            tokens = layer.norm(layer.shortcut.weight @ tokens + found.view(2, d))
        expected = network.head(tokens.flatten())
        torch.testing.assert_close(network(users, beside)[row, place], expected)


def test_dhen_passes_gradcheck():
    torch.manual_seed(0)
    network = OVERARCHES["dhen"](2, 3, 4, 1, 2, 2).double()
    users, beside = torch.randn(2, 2, 4).double(), torch.randn(2, 3, 3, 4).double()
    assert torch.autograd.gradcheck(network, (users.requires_grad_(), beside.requires_grad_()))


def test_deepfm_by_hand():
    network = OVERARCHES["deepfm"](2, 1, 4, 1, 1, 2)
    users, beside = torch.randn(2, 2, 4), torch.randn(2, 1, 1, 4)
    tokens = torch.cat((users, beside[:, 0]), 1)
    products = sum(tokens[:, i] * tokens[:, j] for i, j in ((0, 1), (0, 2), (1, 2)))
    first, wide = (
        tokens.flatten(1) @ layer.weight.T + layer.bias for layer in (network.first, network.wide)
    )
    expected = first + network.second(products) + network.deep(wide)
    torch.testing.assert_close(network(users, beside)[:, 0], expected)


@pytest.mark.parametrize("kind", OVERARCHES)
def test_items_beside_a_user_are_judged_as_if_alone(kind):
    torch.manual_seed(0)
    arch = OverArch((Part(3, 4), Part(2, 6), Part(1, 4)), 2, kind, 2, 4)
    users, items, both = torch.randn(5, 3, 4), torch.randn(5, 7, 2, 6), torch.randn(5, 7, 1, 4)
    found = arch((users, items, both))
    assert found.shape == (5, 7, 2)
    for place in range(7):
        one = arch((users, items[:, place : place + 1], both[:, place : place + 1]))
        torch.testing.assert_close(found[:, place : place + 1], one)


def test_an_unknown_over_arch_is_named(path):
    with pytest.raises(ValueError, match="overarch must be one of dhen, deepfm, wukong, got 'mlp'"):
        built("MoNN", path, overarch="mlp")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("EBR", {"nodes_per_depth": 12}, "nodes_per_depth must be positive integers, got 12"),
        ("EBR", {"nodes_per_depth": [49]}, r"nodes_per_depth \[49\] asks for 49 .* over 48"),
        (
            "EBR",
            {"beam_width": True},
            "beam_width must be an integer >= 1, a list of such, or auto, got True",
        ),
        ("MoNN", {"embedding_size": 0.5}, "embedding_size must be an integer >= 1, got 0.5"),
        (
            "MoNN",
            {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
            "train_neg_sample_args must be none .*, got distribution 'uniform'",
        ),
    ],
)
def test_bad_settings_are_named(path, name, changes, message):
    with pytest.raises(ValueError, match=message):
        built(name, path, **changes)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [(["Recall", "GAUC"], "'GAUC'"), (["Recal"], "'Recal'"), ("Recall", "'Recall'"), ([], r"\[\]")],
)
def test_ranking_metrics_that_are_none_of_lists_are_named(path, tmp_path, given, wrong):
    made = impressions.settings(path, run_dir=str(tmp_path), ranking_metrics=given)
    config = HillConfig("MoNN", "log", None, made)
    model = build_model(config, load_data(config))
    accepted = "hit, map, mrr, ndcg, precision, recall"
    with pytest.raises(
        ValueError, match=f"ranking_metrics must be a list of {accepted}, got {wrong}"
    ):
        trainer_for(config, model)


def test_a_share_of_the_users_is_ranked(path, runs, tmp_path):
    """The same ones for every seed of the model; everyone if there are no more than that."""
    few = []
    for seed in (1, 2):
        changes = {"run_dir": str(tmp_path / str(seed)), "ranking_users": 7, "epochs": 1}
        made = impressions.settings(path, seed=seed, **changes)
        few.append(run("MoNN", "log", overrides=made))
    kept, other = (pd.read_parquet(one.folder / "per_user.parquet") for one in few)
    everyone = pd.read_parquet(runs["MoNN"].folder / "per_user.parquet")
    assert len(kept) == 7 < len(everyone)
    assert list(kept["user"]) == list(other["user"])
    assert set(kept["user"]) < set(everyone["user"])
    assert few[0].rows[0]["serving"]["requests"] == 7
    more = impressions.settings(path, run_dir=str(tmp_path / "all"), ranking_users=1000)
    more = run("MoNN", "log", overrides=more)
    assert more.rows[0]["metrics"] == runs["MoNN"].rows[0]["metrics"]


@pytest.mark.parametrize("wrong", [0, 2.5, "some"])
def test_how_many_are_ranked_is_checked(path, wrong):
    made = impressions.settings(path, ranking_users=wrong)
    with pytest.raises(ValueError, match=r"ranking_users must be an integer >= 1 or ~, got "):
        HillConfig("MoNN", "log", None, made)


# -- loss ------------------------------------------------------------------------------------------


def test_loss_is_weighted_cross_entropy_and_starts_at_the_base_rates(path):
    model, data = built("MoNN", path)
    batch = next(iter(data.train))
    logits, labels = torch.randn(7, 2), (torch.rand(7, 2) > 0.5).float()
    p = logits.sigmoid()
    each = -(labels * p.log() + (1 - labels) * (1 - p).log())
    expected = (each[:, 0] + 0.5 * each[:, 1]).mean()  # the tasks' weights
    torch.testing.assert_close(
        model.cross_entropy(logits, labels, torch.full((7,), 1 / 7)), expected
    )
    rates = model.data.base_rates
    everything = data.train._dataset.inter_feat
    torch.testing.assert_close(rates[0], everything["click"].mean())
    assert abs(float(model.probabilities(batch)[:, 0].mean()) - float(rates[0])) < 0.15


def test_the_target_is_left_out_of_the_history(path):
    """Otherwise a training row would be recognised by its own label."""
    model, data = built("MoNN", path)
    rows = data.train._dataset.inter_feat
    engaged = rows["click"] > 0
    user = rows["user_id"][engaged][:1]
    items = rows["item_id"][(rows["user_id"] == user) & engaged]
    target = items[:1]
    with torch.no_grad():
        found = model.block.user(user, target)
        kept = items[1:]
        table = model.block.user.engaged.weight
        fields = model.block.user.fields(model.data.user_features[user])
        mean = table[kept].sum(0) / len(kept) ** 0.5
        expected = model.block.user.tower(torch.cat((fields, mean.view(1, 1, -1)), 1))
    torch.testing.assert_close(found, expected)


def test_stated_interests_are_queries(path):
    load = {**impressions.LOAD, "user": [*impressions.LOAD["user"], "likes"]}
    model, data = built("MoNN", path, load_col=load, interest_fields={"likes": "category"})
    index, dataset = model.data.indices[0], data.dataset
    users, items = torch.arange(1, 61), torch.arange(1, 49)
    shared = index.block(users).counts[:, 1:, 0]
    names = [dataset.field2id_token[f] for f in ("user_id", "item_id")]
    for u, i in ((1, 1), (5, 30), (44, 3), (60, 48)):
        user, item = (int(tokens[n][1:]) for tokens, n in zip(names, (u, i), strict=True))
        assert shared[u - 1, i - 1] == (user % 4 == item % 4)
    assert shared.sum() == 60 * 12 and len(items) == 48
    with pytest.raises(ValueError, match="'loves' is not a token column"):
        built("MoNN", path, interest_fields={"loves": "category"})


def test_distillation_follows_the_teacher(path, runs, tmp_path):
    settings = {"distill_from": str(runs["MoNN"].folder), "distill_weight": 50.0, "epochs": 1}
    settings["run_dir"] = str(tmp_path)
    model, data = built("TTSN", path, **settings)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert model.teacher is not None and torch.equal(torch.rand(3), expected)  # no draw, no seed
    users, items, soft = model.teacher.draw(100, model.n_users, model.n_items)
    (teacher,) = model.teacher.model
    batch = Interaction({"user_id": users, "item_id": items})
    torch.testing.assert_close(soft, teacher.probabilities(batch))
    none = teacher.data.context_of({}, 100)
    with torch.no_grad():
        own, without = (teacher.pair_logits(users, items, none, out) for out in (None, items))
    assert torch.equal(soft, without.sigmoid()) and not torch.equal(own, without)
    assert not any(name.startswith("teacher") for name, _ in model.named_parameters())
    context, weights = model.data.context_of({}, 100), torch.full((100,), 0.01)

    def loss():
        return model.cross_entropy(model.pair_logits(users, items, context, None), soft, weights)

    before, optimizer = loss(), torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(3):
        for batch in data.train:
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            optimizer.step()
    assert loss() < before
    other = {**impressions.TASKS, "buy": {"field": "stars", "at_least": 4}}
    with pytest.raises(ValueError, match="does not predict the tasks click, buy as they are set"):
        assert built("TTSN", path, **settings, tasks=other)[0].teacher
    heavier = {**impressions.TASKS, "buy": impressions.TASKS["buy"] | {"weight": 3.0}}
    assert built("TTSN", path, **settings, tasks=heavier)[0].teacher is not None
    assert built("TTSN", path, **settings | {"distill_pairs": 0})[0].teacher is None
    for key, bad in (("distill_pairs", float("nan")), ("distill_weight", True)):
        with pytest.raises(ValueError, match=f"{key} must be a number >= 0, got {bad}"):
            assert built("TTSN", path, **settings | {key: bad})[0].teacher
    settings |= {"run_dir": str(tmp_path / "other"), "split_seed": 7}
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="was made on other data"):
        assert built("TTSN", path, **settings)[0].teacher


def test_pairs_shown_before_the_test_are_not_looked_for(path, tmp_path):
    """No list holds them, so that they must not count in recall either."""
    settings = impressions.settings(path, run_dir=str(tmp_path), **SMALL.get("TTSN", {}))
    config = HillConfig("TTSN", "log", None, settings)
    data = load_data(config)
    trainer = trainer_for(config, build_model(config, data))
    rows, train = (loader._dataset.inter_feat for loader in (data.test, data.train))
    for field in ("user_id", "item_id"):  # the first test row is an impression shown before
        rows[field][0] = train[field][0]
    rows[trainer.model.tasks[0].name][0] = 1
    pairs = {*zip(*(part.tolist() for part in trainer.relevant(data)), strict=True)}
    liked = rows[trainer.model.tasks[0].name] > 0
    every = {*zip(*(rows[f][liked].tolist() for f in ("user_id", "item_id")), strict=True)}
    shown = {*zip(*(part.tolist() for part in trainer.shown(data)), strict=True)}
    assert every & shown and pairs == every - shown


# -- what every one must do ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_learns_the_planted_taste(runs, name):
    row = runs[name].rows[0]
    assert row["metrics"]["ne"] < 0.85, row["metrics"]  # 1 is the base rate
    assert set(row["metrics"]) >= {"auc", "ne_buy", "logloss_buy", "recall@5", "ndcg@3"}
    assert row["metrics"]["recall@5"] > 0.25  # five of some thirty unseen items
    assert row["serving"]["latency_ms"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_ranking_agrees_with_pairs(runs, name):
    served = LoadedRun.load(runs[name].folder)
    model = served.model
    users = torch.tensor([1, 7, 60])
    everything = model.full_sort_predict({"user_id": users}).view(3, -1)
    for item in (1, 2, 20, 48):
        items = torch.full((3,), item)
        new = ~model.data.history.holds(users, items)  # of others, a pair leaves its item out
        found = model.predict(Interaction({"user_id": users, "item_id": items}))
        expected = everything[:, item].sigmoid()
        torch.testing.assert_close(expected[new], found[new], rtol=1e-4, atol=1e-5)
        assert new.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_of_the_history_is_judged_without_itself(runs, name):
    """As if its user had not engaged with the item; a list knows that he has."""
    model = LoadedRun.load(runs[name].folder).model
    users, items = map(torch.from_numpy, model.data.history.matrix.nonzero())
    some = torch.arange(4, len(users), 12)
    batch = Interaction({"user_id": users[some].long(), "item_id": items[some].long()})
    found = model.predict(batch)

    def listed():
        scores = model.full_sort_predict(batch).view(len(some), -1).sigmoid()
        return scores.gather(1, batch["item_id"].unsqueeze(1)).squeeze(1)

    assert (found - listed()).abs().max() > 1e-3
    without = []
    for row, pair in enumerate(some):
        kept = torch.arange(len(users)) != pair
        model.data.set_history(users[kept], items[kept], model.n_users, model.n_items)
        without.append(listed()[row])
    torch.testing.assert_close(found, torch.stack(without), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_numbers_and_reload(path, runs, name, tmp_path):
    changes = {"run_dir": str(tmp_path / "again"), **SMALL.get(name, {})}
    again = run(name, "log", overrides=impressions.settings(path, **changes))
    assert again.rows[0]["metrics"] == runs[name].rows[0]["metrics"]
    lists = [LoadedRun.load(r.folder).recommend(["u3", "u7"], 4) for r in (again, runs[name])]
    assert lists[0] == lists[1] and len(lists[0][0]) == 4
    assert all(item != "[PAD]" for one in lists[0] for item, _ in one)


@pytest.mark.parametrize("name", ["MoNN", "HSNN"])
def test_a_killed_run_resumes_to_the_same_numbers(path, runs, name, tmp_path, monkeypatch):
    from recbole_hill.train.trainer import RunTrainer

    original, calls = RunTrainer._train_epoch, []

    def dies(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    folder = tmp_path / "killed"
    monkeypatch.setattr(RunTrainer, "_train_epoch", dies)
    changes = {"run_dir": str(folder), **SMALL.get(name, {})}
    with pytest.raises(KeyboardInterrupt):
        run(name, "log", overrides=impressions.settings(path, **changes))
    resumed = run(resume=str(folder))
    assert resumed.rows[0]["metrics"] == runs[name].rows[0]["metrics"]


@pytest.mark.parametrize("name", NAMES)
def test_a_user_without_history_and_an_item_without_rows(path, name, tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    for kind in ("user", "item", "inter"):
        text = (path / "log" / f"log.{kind}").read_text()
        (folder / f"log.{kind}").write_text(text)
    with open(folder / "log.user", "a") as file:
        file.write("stranger\tk9\t\t\n")
    with open(folder / "log.item", "a") as file:
        file.write("new\tc1\tt99\t3\t1\n")
    with open(folder / "log.inter", "a") as file:
        file.write("stranger\tnew\t1\tp1\t5\n")
    settings = {"run_dir": str(tmp_path / "run"), **SMALL.get(name, {}), "epochs": 1}
    model, _ = built(name, tmp_path, **settings)
    if name == "HSNN":
        model.start_index(10)
    model.eval()
    scores = model.full_sort_predict({"user_id": torch.arange(1, model.n_users)})
    assert torch.isfinite(scores.view(-1, model.n_items)[:, 1:]).all()


# -- serving ---------------------------------------------------------------------------------------


def test_two_towers_are_served_by_their_vectors(runs):
    served = LoadedRun.load(runs["TTSN"].folder)
    users, items = served.vectors
    expected = served.model.full_sort_predict({"user_id": torch.arange(61)}).view(61, -1)
    dots = users @ items.T + served.model.block.bias[0]
    torch.testing.assert_close(dots[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-5)
    everything = LoadedRun.load(runs["MoNN"].folder)
    assert everything.vectors is None


def test_two_towers_are_searched_as_all_items_are_scored(runs):
    model, users = LoadedRun.load(runs["TTSN"].folder).model, torch.arange(1, 61)
    seen = torch.arange(60), users.remainder(48) + 1
    model.serve(torch.arange(3, 49))  # as in a stream, where some are gone
    scores, found = model.searcher().search(users, 5, seen)
    expected = ExhaustiveSearch(model).search(users, 5, seen)
    assert torch.equal(found, expected[1])
    bias = model.block.bias[0].item()  # the same for all
    torch.testing.assert_close(scores + bias, expected[0], rtol=1e-4, atol=1e-5)


def test_a_layered_model_is_served_and_exported_by_its_own_search(runs, tmp_path):
    served = LoadedRun.load(runs["HSNN"].folder)
    users = torch.arange(1, 61)
    mine, exact = (
        torch.cat([ids for _, _, ids in served.search(users, 5, served.retriever(name))])
        for name in (None, "exact")
    )
    seen = served.seen(users)
    assert torch.equal(mine, served.model.searcher().search(users, 5, seen)[1])
    assert torch.equal(exact, served.model.searcher(full=True).search(users, 5, seen)[1])
    with pytest.raises(ValueError, match="served by its own search"):
        served.retriever("faiss")
    with pytest.raises(ValueError, match="a run of HSNN without them"):
        served.explain("u3", 2)
    manifest = export(runs["HSNN"].folder, tmp_path / "out", k=5)
    assert manifest["lists"]["retrieval"] == "own"
    assert set(manifest["files"]) == {"recommendations.csv", "index.npz"}
    lines = (tmp_path / "out" / "recommendations.csv").read_text().splitlines()
    first = [line.split(",")[2] for line in lines[1:6]]
    assert first == served.item_tokens[mine[0].numpy() - 1].tolist()


def test_cost_of_a_request(runs):
    costs = {name: result.rows[0]["serving"] for name, result in runs.items()}
    for name, one in costs.items():
        work = sum(m * n for m, n in zip(one["pair_flops"], one["pairs"], strict=True))
        assert one["flops"] == pytest.approx(work + one["user_flops"]), name
    assert costs["MoNN"]["pairs"] == [48] and costs["TTSN"]["pairs"] == [48]
    (per_pair,) = costs["MoNN"]["pair_flops"]
    assert costs["MoNN"]["flops_formula"] == 48 * per_pair
    m_node, m_item = costs["HSNN"]["pair_flops"]
    n_nodes = LoadedRun.load(runs["HSNN"].folder).model.index.nodes_per_depth[0]
    assert costs["HSNN"]["flops_formula"] == m_node * n_nodes + m_item * 48
    assert costs["EBR"]["flops_formula"] == 12 * costs["EBR"]["pair_flops"][0]
    for name in ("MoNN", "TTSN", "EBR"):  # of 48 items, and the padding item
        one = costs[name]
        assert one["flops_measured"] == pytest.approx(one["flops"], rel=1 / 40), name
    assert costs["EBR"]["pairs"][0] < 48  # twelve nodes and the items of three
    assert 1 < costs["HSNN"]["pairs"][0] == n_nodes <= 6 and costs["HSNN"]["pairs"][1] < 48
    assert costs["MoNN"]["index_recall@5"] == costs["TTSN"]["index_recall@5"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_no_timed_request_makes_what_serving_keeps(runs, name, monkeypatch):
    model, timing, found = LoadedRun.load(runs[name].folder).model.eval(), [], []
    monkeypatch.setattr(cost.time, "perf_counter", lambda: timing.append(1) or 0.1 * len(timing))
    for block in model.networks():
        block.item.register_forward_hook(lambda *call: found.append(len(timing) % 2))
    users, none = torch.arange(1, 61), torch.empty(0, dtype=torch.int64)
    costs = cost.serving_cost(model, users, 5, lambda user: none)
    assert found and not any(found)  # between a request's two looks at the clock
    assert costs["requests"] == 60 and len(timing) == 120
    assert costs["latency_ms"] == pytest.approx(100)
    if name in ("MoNN", "TTSN"):
        assert costs["pairs"] == [48]  # of the timed requests alone


def test_each_layer_is_judged_and_calibrated(runs):
    row = runs["HSNN"].rows[0]
    layers = row["serving"]["layers"]
    assert len(layers) == 2
    for name in ("ne", "auc", "calibration_buy"):
        assert layers[-1][name] == pytest.approx(row["metrics"][name], abs=1e-6)
    assert layers[0]["ne"] != layers[1]["ne"]
    assert all(0.5 < layer["calibration"] < 2 for layer in layers)
    # Rows of the history too: layers and metrics leave a pair itself out.
    served = LoadedRun.load(runs["HSNN"].folder)
    trainer, data = trainer_for(served.config, served.model), served.data
    rows, train = (loader._dataset.inter_feat for loader in (data.test, data.train))
    for field in ("user_id", "item_id", "click", "buy"):
        rows[field][:60] = train[field][:60]
    metrics = trainer.evaluate(data.test, load_best_model=False)
    layer = trainer.serving_cost(data)["layers"][-1]
    for name in ("ne", "auc", "ne_buy"):
        assert layer[name] == pytest.approx(metrics[name], abs=1e-6)


def test_a_users_part_of_the_over_arch_is_counted_once(path):
    block = built("MoNN", path)[0].block
    users, d = block.size.user.embeddings, block.arch.dim
    width, of_pair = block.size.tokens * d, users * (users - 1) // 2
    once = users * users * d + of_pair * width + users * d * width + users * block.size.tokens * d
    assert pair_flops(block)[1] == 2 * once


def test_a_warm_start_is_refused(path):
    with pytest.raises(ValueError, match="MoNN takes no warm_start, got saved/other"):
        built("MoNN", path, warm_start="saved/other")


def test_pair_flops_of_a_dot_product_by_hand(path):
    model, _ = built("TTSN", path)
    assert pair_flops(model.block) == (2 * model.block.size.user.width, 0)


def test_recboles_context_models_learn_the_first_task_and_are_judged_alike(path, tmp_path):
    made = impressions.settings(path, run_dir=str(tmp_path / "deepfm"), learning_rate=0.02)
    made = {key: made[key] for key in made if key != "monn_scale"}
    made["tasks"] = {"click": impressions.TASKS["click"]}
    row = run("DeepFM", "log", overrides=made).rows[0]
    assert (
        set(row["metrics"]) == {"ne", "auc", "logloss", "calibration"} and row["metrics"]["ne"] < 1
    )
    assert HillConfig("DeepFM", "ml-100k")["tasks"] == {
        "click": {"field": "rating", "at_least": 4, "weight": 1.0}
    }


def test_a_datasets_interests_reach_the_model():
    assert HillConfig("MoNN", "impressions")["interest_fields"]["liked_tags"] == "tags"


def test_rows_are_plain_json(runs):
    for result in runs.values():
        text = (result.folder / "rows.jsonl").read_text()
        assert np.isfinite(json.loads(text)["metrics"]["ne"])
