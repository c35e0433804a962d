"""Scores that are no inner product, against plain loops over a graph of six users."""

import itertools
import math
import shutil

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_settings
from recbole.data.interaction import Interaction

from recbole_hill.config.config import HillConfig
from recbole_hill.data.prepare.lightgcn import prepare
from recbole_hill.data.splits import load_data
from recbole_hill.model.bases import pair_products as products
from recbole_hill.model.bases.attention import segment_softmax, segment_sums
from recbole_hill.model.bases.pair_products import pair_products
from recbole_hill.model.build import build_model
from recbole_hill.pipeline import run
from recbole_hill.serve.loaded_run import LoadedRun

SMALL = {
    "NeuMF": {"embedding_size": 5, "mlp_hidden_size": [6, 3]},
    "NeuMF-WWW": {"mf_embedding_size": 5, "mlp_embedding_size": 4, "mlp_hidden_size": [6, 3]},
    "CMN": {"embedding_size": 5},
    "IA-GCN": {"embedding_size": 5},
}


@pytest.fixture(scope="session")
def six_users(tmp_path_factory):
    """A user with one item, items with one user, and an item that train never saw."""
    root = tmp_path_factory.mktemp("six")
    (root / "train.txt").write_text("0 0 1 2\n1 0\n2 1 2 3\n3 2\n4 0 1 2 3 4\n5 1 2\n")
    (root / "test.txt").write_text("0 3\n1 2\n2 0\n3 5\n")
    prepare("six", root, root / "dataset")
    return root / "dataset"


@pytest.fixture
def build(six_users, tmp_path):
    """Builds a model with weights large enough that every part of the score shows."""

    def build(name: str, **changes):
        settings = {"data_path": str(six_users), "run_dir": str(tmp_path), "topk": [3]}
        settings |= {"valid_metric": "NDCG@3", "state": "ERROR", "protocol": "published"}
        config = HillConfig(name, "six", None, {**settings, **SMALL[name], **changes})
        data = load_data(config)
        model = build_model(config, data).eval()
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.8)
        return model, neighbours(data.train._dataset)

    return build


def neighbours(dataset) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Returns each user's items and each item's users, in RecBole's ids."""
    matrix = dataset.inter_matrix(form="csr").toarray()
    items = {u: row.nonzero()[0].tolist() for u, row in enumerate(matrix)}
    users = {i: column.nonzero()[0].tolist() for i, column in enumerate(matrix.T)}
    return items, users


def every_pair(model) -> tuple[torch.Tensor, torch.Tensor]:
    grid = torch.cartesian_prod(torch.arange(model.n_users), torch.arange(model.n_items))
    return grid[:, 0], grid[:, 1]


def ranking(model, users: torch.Tensor) -> torch.Tensor:
    return model.full_sort_predict(Interaction({"user_id": users})).view(len(users), -1)


def same_gradients(model, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Compares the gradients that two ways to the same scores leave."""
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    weights = list(model.parameters())
    gradients = [
        torch.autograd.grad(scores @ direction, weights, allow_unused=True)
        for scores in (found, expected)
    ]
    for ours, plain in zip(*gradients, strict=True):
        if plain is None:
            assert ours is None or not ours.any()
        else:
            torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


# -- the base class -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("limit", [1, 4, 13, 1 << 16])
def test_ranking_in_blocks_is_the_score_of_every_pair(build, name, limit, monkeypatch):
    model, _ = build(name)
    monkeypatch.setattr(type(model), "block_pairs", limit)
    monkeypatch.setattr(type(model), "block_floats", limit * 5, raising=False)
    monkeypatch.setattr(model, "ranking_floats", limit * model.n_items * 5, raising=False)
    users, items = every_pair(model)
    with torch.no_grad():
        pairs = model.pair_scores(users, items).view(model.n_users, -1)
    some = torch.tensor([3, 1, 5, 3, 6])
    torch.testing.assert_close(ranking(model, some), pairs[some])
    predicted = model.predict(Interaction({"user_id": users, "item_id": items}))
    torch.testing.assert_close(predicted, pairs.flatten())
    assert pairs[:, 1:].std() > 0.1


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("limit", [1, 4, 13, 1 << 16])
def test_blocks_cover_every_pair_once(build, name, limit, monkeypatch):
    model, _ = build(name)
    monkeypatch.setattr(type(model), "block_pairs", limit)
    monkeypatch.setattr(type(model), "block_floats", limit, raising=False)
    monkeypatch.setattr(model, "ranking_floats", limit, raising=False)
    times = torch.zeros(5, model.n_items)
    for rows, items in model.blocks(torch.arange(5)):
        times[rows, items] += 1
    assert (times == 1).all()


def test_loss_is_bpr_over_all_negatives_and_half_the_squared_rows(build, monkeypatch):
    model, _ = build("NeuMF-WWW", n_negatives=2, reg_weight=0.3)
    users, positives = torch.tensor([1, 4]), torch.tensor([1, 2])
    negatives = torch.tensor([[4, 5], [5, 6]])
    monkeypatch.setattr(model, "draw", lambda interaction: (users, positives, negatives))

    def score(u, i):
        return float(model.forward(torch.tensor([u]), torch.tensor([i])).detach())

    expected = 0.0
    for u, i, rivals in zip(users.tolist(), positives.tolist(), negatives.tolist(), strict=True):
        for j in rivals:
            expected += math.log(1 + math.exp(score(u, j) - score(u, i))) / 4
        for table, ids in (
            (model.user_mf_embedding, [u]),
            (model.user_mlp_embedding, [u]),
            (model.item_mf_embedding, [i, *rivals]),
            (model.item_mlp_embedding, [i, *rivals]),
        ):
            expected += 0.3 / 4 * float(table.weight[ids].detach().square().sum())
    assert float(model.calculate_loss(None).detach()) == pytest.approx(expected, rel=1e-5)


# -- attention ----------------------------------------------------------------------------------


def test_segment_softmax_is_the_softmax_of_each_row():
    logits = torch.tensor([1.0, 90.0, -3.0, 2.0, -torch.inf, 0.5, -torch.inf]).requires_grad_()
    row = torch.tensor([0, 0, 0, 2, 2, 2, 3])  # row 1 is empty, row 3 left out
    plain = torch.cat((logits[:3].softmax(0), logits[3:6].softmax(0), torch.zeros(1)))
    found = segment_softmax(logits, row, 4)
    torch.testing.assert_close(found, plain)
    direction = torch.arange(7.0)
    gradients = [torch.autograd.grad(x @ direction, logits)[0] for x in (found, plain)]
    torch.testing.assert_close(*gradients)


def test_segment_softmax_counts_logits_of_0_beside_the_row():
    logits = torch.tensor([1.0, -90.0, 90.0, -90.0, -torch.inf, 2.0]).requires_grad_()
    row = torch.tensor([0, 0, 1, 2, 3, 5])  # row 3 is left out, row 4 is empty, row 5 not padded
    padding = torch.tensor([2.0, 3, 1, 4, 5, 0])
    padded = [
        torch.cat((logits[row == n], torch.zeros(int(count)))).softmax(0)[: (row == n).sum()]
        for n, count in enumerate(padding)
    ]
    found, plain = segment_softmax(logits, row, 6, padding), torch.cat(padded)
    torch.testing.assert_close(found, plain)
    direction = torch.arange(6.0)
    gradients = [torch.autograd.grad(x @ direction, logits)[0] for x in (found, plain)]
    torch.testing.assert_close(*gradients)


def test_segment_sums_in_value_and_gradient():
    values, weights = torch.randn(4, 3).requires_grad_(), torch.rand(5).requires_grad_()
    index, crow = torch.tensor([2, 0, 2, 3, 1]), torch.tensor([0, 2, 2, 5])
    matrix = torch.zeros(3, 4).index_put(
        (torch.tensor([0, 0, 2, 2, 2]), index), weights, accumulate=True
    )
    found, plain = segment_sums(weights, values, index, crow), matrix @ values
    torch.testing.assert_close(found, plain)
    direction = torch.randn(3, 3)
    for ours, theirs in zip(
        torch.autograd.grad((found * direction).sum(), (values, weights)),
        torch.autograd.grad((plain * direction).sum(), (values, weights)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("n_pairs", [0, 3, 8])
def test_pair_products_in_value_and_gradient(n_pairs, monkeypatch):
    monkeypatch.setattr(products, "CPU_BLOCK", 3)
    x, y = torch.randn(4, 5).requires_grad_(), torch.randn(6, 5).requires_grad_()
    row, column = torch.randint(4, (n_pairs,)), torch.randint(6, (n_pairs,))
    found, plain = pair_products(x, row, y, column), (x @ y.T)[row, column]
    torch.testing.assert_close(found, plain)
    direction = torch.randn(n_pairs)
    for ours, theirs in zip(
        torch.autograd.grad(found @ direction, (x, y)),
        torch.autograd.grad(plain @ direction, (x, y)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_rows_of_the_graph_in_any_order(build):
    model, (items_of, users_of) = build("CMN")
    n_users = model.n_users
    nodes = [n_users + 3, 0, 5, n_users + 3, 2]
    crow, row, found = model.graph.rows(torch.tensor(nodes))
    expected = [
        [n_users + i for i in items_of[n]] if n < n_users else users_of[n - n_users] for n in nodes
    ]
    assert [found[a:b].tolist() for a, b in itertools.pairwise(crow)] == expected
    assert row.tolist() == [k for k, listed in enumerate(expected) for _ in listed]


# -- NeuMF --------------------------------------------------------------------------------------


def plain_neumf(model, u: int, i: int) -> float:
    """h^T ReLU(W2 ReLU(W1 [u; i; u * i] + b1) + b2), entry by entry."""
    user, item = (
        t.weight[n].tolist() for t, n in ((model.user_embedding, u), (model.item_embedding, i))
    )
    values = [*user, *item, *(a * b for a, b in zip(user, item, strict=True))]
    for layer in model.layers:
        rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        values = [
            max(0, bias + sum(w * x for w, x in zip(row, values, strict=True)))
            for row, bias in rows
        ]
    return sum(h * x for h, x in zip(model.output.weight[0].tolist(), values, strict=True))


@pytest.mark.parametrize("widths", [[6], [6, 3], [4, 4, 4]])
def test_neumf_equals_the_network_of_ngcfs_comparison(build, widths):
    model, _ = build("NeuMF", mlp_hidden_size=widths, dropout_prob=0.5)
    users, items = every_pair(model)
    plain = torch.tensor(
        [plain_neumf(model, u, i) for u, i in zip(users.tolist(), items.tolist(), strict=True)]
    )
    torch.testing.assert_close(model.pair_scores(users, items), plain)
    assert len(plain.unique()) > len(plain) / 2


def test_neumf_drops_after_each_relu_in_training(build):
    """With one layer a score is twice the sum of some of its parts; each subset turns up."""
    model, _ = build("NeuMF", mlp_hidden_size=[4], dropout_prob=0.5)
    user, item = model.user_embedding.weight[1], model.item_embedding.weight[2]
    with torch.no_grad():
        hidden = F.relu(model.layers[0](torch.cat((user, item, user * item))))
        kept = torch.cartesian_prod(*[torch.tensor([0.0, 2.0])] * 4)
        possible = (kept * hidden * model.output.weight[0]).sum(1)
        torch.manual_seed(2)
        model.train()
        found = model.pair_scores(torch.full((400,), 1), torch.full((400,), 2))
    apart = (found.unsqueeze(1) - possible).abs()  # (400, 16)
    assert hidden.count_nonzero() > 1
    assert apart.amin(0).max() < 1e-5 and apart.amin(1).max() < 1e-5


def test_neumf_loss_has_half_the_squared_rows_over_b_and_half_h_squared(build, monkeypatch):
    model, _ = build("NeuMF", reg_weight=0.3, dense_reg_weight=0.7)
    users, positives, negatives = (
        torch.tensor([1, 4]),
        torch.tensor([1, 2]),
        torch.tensor([[4], [5]]),
    )
    monkeypatch.setattr(model, "draw", lambda interaction: (users, positives, negatives))
    expected = 0.7 / 2 * float(model.output.weight.square().sum().detach())
    for u, i, j in ((1, 1, 4), (4, 2, 5)):
        expected += math.log(1 + math.exp(plain_neumf(model, u, j) - plain_neumf(model, u, i))) / 2
        vectors = model.user_embedding.weight[u], model.item_embedding.weight[[i, j]]
        expected += 0.3 / 2 / 2 * sum(float(v.detach().square().sum()) for v in vectors)
    assert float(model.calculate_loss(None).detach()) == pytest.approx(expected, rel=1e-5)


def test_neumf_starts_from_xavier_biases_and_all(six_users, tmp_path):
    settings = {
        "data_path": str(six_users),
        "run_dir": str(tmp_path),
        "topk": [3],
        "state": "ERROR",
    }
    settings |= {"valid_metric": "NDCG@3", "protocol": "published", "mlp_hidden_size": [3000]}
    config = HillConfig("NeuMF", "six", None, {**settings, "embedding_size": 50})
    model = build_model(config, load_data(config))
    for weight, fans in (
        (model.user_embedding.weight, model.n_users + 50),
        (model.item_embedding.weight, model.n_items + 50),
        (model.layers[0].weight, 3 * 50 + 3000),
        (model.layers[0].bias, 1 + 3000),
        (model.output.weight, 3000 + 1),
    ):
        bound = math.sqrt(6 / fans)
        assert 0.97 * bound < weight.detach().abs().max() <= bound


# -- NeuMF-WWW ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "halves", [{}, {"mf_train": False}, {"mlp_train": False}, {"mlp_hidden_size": [6]}]
)
def test_neumf_www_split_layer_equals_the_whole_network(build, halves):
    model, _ = build("NeuMF-WWW", dropout_prob=0.5, **halves)
    users, items = torch.tensor([4, 1, 6]), torch.tensor([5, 2])
    with torch.no_grad():
        whole = [[model.forward(u.view(1), i.view(1)).item() for i in items] for u in users]
        torch.testing.assert_close(model.block_scores(users, items), torch.tensor(whole))


# -- CMN ----------------------------------------------------------------------------------------


def plain_cmn(model, users_of, u: int, i: int) -> torch.Tensor:
    """CMN's equations for one pair."""
    memory, output = model.user_memory.weight, model.user_output.weight
    query = memory[u] + model.item_memory.weight[i]
    found = torch.zeros_like(query)
    for hop in range(len(model.hops) + 1):
        if hop:
            query = torch.relu(model.hops[hop - 1](query) + found)
        if users_of[i]:
            exponentials = [torch.exp(query @ memory[v]) for v in users_of[i]]
            total = sum(exponentials)
            found = sum(
                e / total * output[v] for e, v in zip(exponentials, users_of[i], strict=True)
            )
    product = memory[u] * model.item_memory.weight[i]
    return model.output(torch.relu(model.hidden(torch.cat((product, found)))))[0]


@pytest.mark.parametrize("n_hops", [1, 2, 3])
def test_cmn_equals_plain_loops_for_every_pair(build, n_hops):
    model, (_, users_of) = build("CMN", n_hops=n_hops)
    assert any(not users for users in list(users_of.values())[1:])  # an item without memory
    users, items = every_pair(model)
    plain = torch.stack(
        [
            plain_cmn(model, users_of, *pair)
            for pair in zip(users.tolist(), items.tolist(), strict=True)
        ]
    )
    found = model.pair_scores(users, items)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
    same_gradients(model, found, plain)
    everyone = ranking(model, torch.arange(model.n_users))
    torch.testing.assert_close(everyone.flatten(), plain.detach(), rtol=1e-4, atol=1e-5)


def test_cmn_pads_by_a_quarter_at_most(build):
    model, _ = build("CMN")
    model.graph.degree[model.n_users :] = torch.tensor([0.0, 1, 100, 2, 3, 126, 125])
    widths = [
        model.graph.degree[items + model.n_users].tolist()
        for _, items in model.blocks(torch.arange(2))
    ]
    assert [sorted(width) for width in widths] == [[0], [1], [2], [3], [100, 125], [126]]


def test_cmn_penalty_is_half_the_squared_weight_matrices(build):
    losses = []
    for weight in (0.0, 0.2):
        model, _ = build("CMN", dense_reg_weight=weight)
        torch.manual_seed(5)
        batch = Interaction({"user_id": torch.tensor([1, 5]), "item_id": torch.tensor([1, 2])})
        losses.append(float(model.calculate_loss(batch).detach()))
    matrices = [model.hops[0].weight, model.hidden.weight, model.output.weight]
    squares = sum(float(m.detach().square().sum()) for m in matrices)
    assert losses[1] - losses[0] == pytest.approx(0.2 / 2 * squares, rel=1e-4)


# -- IA-GCN -------------------------------------------------------------------------------------


def plain_guided(model, near, side: str, node: int, guide: int, hops: int) -> torch.Tensor:
    """(P_guide^hops E)_node by recursion; the guide is of the other side than the first root."""
    embedding = {"user": model.user_embedding.weight, "item": model.item_embedding.weight}
    if hops == 0:
        return embedding[side][node]
    other = "item" if side == "user" else "user"
    guide_side, guide_id = guide
    children = [
        c
        for c in near[side][node]
        if not (model.training and other == guide_side and c == guide_id)
    ]
    if not children:
        return torch.zeros(embedding[side].shape[1])
    target = embedding[guide_side][guide_id]
    exponentials = [torch.exp(model.rate * embedding[other][c] @ target) for c in children]
    total = sum(exponentials)
    return sum(
        e / total * plain_guided(model, near, other, c, guide, hops - 1)
        for e, c in zip(exponentials, children, strict=True)
    )


def plain_iagcn(model, near, u: int, i: int) -> torch.Tensor:
    """IA-GCN's score of one pair."""
    mix = model.layer_weights.softmax(0)
    vectors = []
    for root, guide in ((("user", u), ("item", i)), (("item", i), ("user", u))):
        scale = math.sqrt(len(near[root[0]][root[1]]))
        vectors.append(
            sum(
                mix[hops] * (scale if hops else 1) * plain_guided(model, near, *root, guide, hops)
                for hops in range(model.n_layers + 1)
            )
        )
    return vectors[0] @ vectors[1]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_iagcn_equals_plain_recursion_for_every_pair(build, n_layers, training):
    model, (items_of, users_of) = build("IA-GCN", n_layers=n_layers, softmax_rate=0.7)
    near = {"user": items_of, "item": users_of}
    model.train(training)
    users, items = every_pair(model)
    plain = torch.stack(
        [
            plain_iagcn(model, near, *pair)
            for pair in zip(users.tolist(), items.tolist(), strict=True)
        ]
    )
    found = model.pair_scores(users, items)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
    same_gradients(model, found, plain)
    if not training:
        everyone = ranking(model, torch.arange(model.n_users))
        torch.testing.assert_close(everyone.flatten(), plain.detach(), rtol=1e-4, atol=1e-5)


def test_iagcn_hides_the_positive_from_itself_in_training_only(build):
    model, (items_of, _) = build("IA-GCN", n_layers=1)
    lone = next(u for u, items in items_of.items() if len(items) == 1)
    node, guide = torch.tensor([lone]), torch.tensor([model.n_users + items_of[lone][0]])
    mix = model.layer_weights.softmax(0)
    own = mix[0] * model.user_embedding.weight[lone]
    neighbour = mix[1] * model.item_embedding.weight[items_of[lone][0]]
    model.train()
    torch.testing.assert_close(model._tree_vectors(node, guide)[0], own)
    model.eval()
    torch.testing.assert_close(model._tree_vectors(node, guide)[0], own + neighbour)


def test_iagcn_ranks_finitely_where_attention_is_extreme(build):
    model, (items_of, _) = build("IA-GCN", n_layers=1, softmax_rate=500.0)
    assert torch.isfinite(ranking(model, torch.arange(model.n_users))).all()
    users = torch.tensor([u for u, items in items_of.items() if items])
    guides = torch.arange(model.n_items) + model.n_users
    own = model.layer_weights.softmax(0)[0] * model.user_embedding(users).unsqueeze(1)
    read = model._all_vectors(users, guides) - own  # of neighbours, be they ever so unlike
    assert (read.norm(dim=2) > 0.01).all()


# -- starting from another run ------------------------------------------------------------------


def test_pretrained_tables_start_the_run_and_are_not_needed_after(tiny_path, tmp_path):
    common = {"checkpoint_dir": str(tmp_path), "epochs": 1}
    first = run("BPR", "tiny", overrides=tiny_settings(tiny_path, "BPR", **common))
    tables = LoadedRun.load(first.folder).model
    for name, size, scale, pair in (
        ("NeuMF", "embedding_size", 1.0, ("user_embedding", "item_embedding")),
        ("NeuMF-WWW", "mf_embedding_size", 1.0, ("user_mf_embedding", "item_mf_embedding")),
        ("GC-MC", "embedding_size", 1.0, ("user_embedding", "item_embedding")),
        ("PinSage", "embedding_size", 1.0, ("user_embedding", "item_embedding")),
        ("LT-OCF", "embedding_size", 1.0, ("user_embedding", "item_embedding")),
        ("CMN", "embedding_size", 0.5, ("user_memory", "item_memory")),
    ):
        # Tables stay as they begin; a rate of 0 LT-OCF refuses.
        changes = {size: 16, "learning_rate": 1e-30, "pretrained_from": str(first.folder)}
        if name == "NeuMF-WWW":
            changes["mlp_embedding_size"] = 16
        settings = tiny_settings(tiny_path, name, **common, **changes)
        result = run(name, "tiny", overrides=settings)
        moved = shutil.move(first.folder, tmp_path / "elsewhere")
        model = LoadedRun.load(result.folder).model
        shutil.move(moved, first.folder)
        for ours, theirs in zip(pair, ("user_embedding", "item_embedding"), strict=True):
            expected = scale * getattr(tables, theirs).weight
            torch.testing.assert_close(getattr(model, ours).weight, expected)
    with pytest.raises(ValueError, match=r"shape \(81, 16\), this model one of \(81, 8\)"):
        run(name, "tiny", overrides={**settings, size: 8})
    other = {**settings, "valid_ratio": 0.2}
    with pytest.raises(ValueError, match="was made on other data"):
        run(name, "tiny", overrides=other)
    with pytest.raises(ValueError, match="has no user_embedding"):
        run(name, "tiny", overrides={**settings, "pretrained_from": str(result.folder)})


@pytest.mark.parametrize("name", ["MF-SSM", "LightGCN-BSL"])
def test_a_softmax_model_starts_from_the_directions_of_a_filter(tiny_path, tmp_path, name):
    common = {"checkpoint_dir": str(tmp_path), "epochs": 1, "embedding_size": 8}
    first = run("SpectralMF", "tiny", overrides=tiny_settings(tiny_path, "SpectralMF", **common))
    theirs = LoadedRun.load(first.folder).model
    alone = {**common, "learning_rate": 1e-30}
    drawn, started = (
        LoadedRun.load(run(name, "tiny", overrides=tiny_settings(tiny_path, name, **given)).folder)
        for given in (alone, {**alone, "pretrained_from": str(first.folder)})
    )
    for table in ("user_embedding", "item_embedding"):
        before, ours, found = (
            getattr(m, table).weight.detach() for m in (drawn.model, started.model, theirs)
        )
        torch.testing.assert_close(ours.norm(dim=1), before.norm(dim=1))  # lengths stay
        known = found.norm(dim=1) > 0
        assert 0 < known.sum() < len(known)  # padding and nodes without a train item stay as drawn
        cosines = torch.nn.functional.cosine_similarity(ours[known], found[known])
        torch.testing.assert_close(cosines, torch.ones_like(cosines))
        assert torch.equal(ours[~known], before[~known])
