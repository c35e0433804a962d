"""Index learning by gradient: its attention by the plain formula, its parts by hand, recovery."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import planted_hierarchy, same_partition

from recbole_hill.index.attention import NodeAttention, nearest_nodes
from recbole_hill.index.codes import NodeUsage, drift, tree_of_codes
from recbole_hill.index.em import cluster
from recbole_hill.index.lti import LearnedIndex
from recbole_hill.index.schedules import Balance, Schedule

DIRECTIONS = ["bottom_up", "top_down"]


def learner(sizes, dim=16, direction="top_down", **schedule) -> LearnedIndex:
    given = {"alpha": 100.0, "alpha_power": 2.0, "steps": 1, "warmup_steps": 10, **schedule}
    return LearnedIndex(sizes, dim, direction=direction, schedule=Schedule(**given))


def plain_attention(items, nodes, alpha):
    """Algorithm 1, lines 5 to 7, as they are printed."""
    distance = (items.unsqueeze(1) - nodes.unsqueeze(0)).square().sum(2)
    assignment = torch.softmax(-alpha * distance, dim=1)
    return assignment @ nodes, assignment.mean(0)


# -- attention --------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.7, 30.0])
@pytest.mark.parametrize("block", [1, 64, 2**20])
def test_attention_and_its_gradients_are_the_plain_formula(alpha, block, monkeypatch):
    monkeypatch.setattr(NodeAttention, "block_entries", block)
    torch.manual_seed(0)
    items, nodes = (torch.randn(n, 5, requires_grad=True) for n in (13, 9))
    of_pseudo, of_mean = torch.randn(13, 5), torch.randn(9)
    found = NodeAttention.apply(items, nodes, alpha, torch.float32)
    gradients = torch.autograd.grad(found, (items, nodes), (of_pseudo, of_mean))
    expected = plain_attention(items, nodes, alpha)
    expected_gradients = torch.autograd.grad(expected, (items, nodes), (of_pseudo, of_mean))
    for pair in zip((*found, *gradients), (*expected, *expected_gradients), strict=True):
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-5)


def test_attention_in_bfloat16_is_near():
    torch.manual_seed(0)
    items, nodes = (torch.randn(n, 16, requires_grad=True) for n in (50, 30))
    results = []
    for precision in (torch.float32, torch.bfloat16):
        pseudo, mean = NodeAttention.apply(items, nodes, 3.0, precision)
        loss = (pseudo - items).square().sum() + 10 * mean.square().sum()
        results.append((pseudo, mean, *torch.autograd.grad(loss, (items, nodes))))
    for exact, near in zip(*results, strict=True):
        assert ((exact - near).norm() / exact.norm()).item() < 0.02


def test_nothing_of_items_times_nodes_is_kept_for_items_outside_the_batch():
    torch.manual_seed(0)
    table = torch.randn(5000, 8, requires_grad=True)
    pseudo, _ = NodeAttention.apply(table[:40], torch.randn(300, 8), 1.0, torch.float32)
    largest = max(x.numel() for x in pseudo.grad_fn.saved_tensors)
    assert largest == 40 * 300


def test_nearest_nodes_with_ties_and_blocks(monkeypatch):
    monkeypatch.setattr(NodeAttention, "block_entries", 7)
    rng = np.random.default_rng(0)
    vectors, nodes = (torch.from_numpy(rng.integers(-2, 3, (n, 3))).float() for n in (40, 6))
    expected = [int(((v - nodes) ** 2).sum(1).argmin()) for v in vectors]
    assert nearest_nodes(vectors, nodes).tolist() == expected


# -- schedules and balance --------------------------------------------------------------------


def test_schedule_by_hand():
    schedule = Schedule(alpha=80.0, alpha_power=2.0, steps=4, warmup_steps=5)
    assert [schedule.alpha_at(step) for step in range(6)] == [5, 20, 45, 80, 80, 80]
    assert [schedule.weight_at(step) for step in (0, 3, 4, 9)] == [0.2, 0.8, 1, 1]
    without = Schedule(alpha=80.0, alpha_power=0.0, steps=4, warmup_steps=0)
    assert without.alpha_at(0) == 80 and without.weight_at(0) == 1


def test_balance_by_hand_and_its_pool():
    balance = Balance(n_nodes=4, n_batches=3)
    even, one = torch.full((4,), 0.25), torch.tensor([1.0, 0, 0, 0])
    assert balance(even, 10) == pytest.approx(1)
    # Pooled with the even batch of 10 items: (2.5 + 30, 2.5, 2.5, 2.5) / 40.
    pooled = torch.tensor([32.5, 2.5, 2.5, 2.5]) / 40
    assert balance(one, 30) == pytest.approx(4 * float(pooled.square().sum()))
    balance(one, 30), balance(one, 30)  # only two older batches are remembered
    assert balance(one, 5) == pytest.approx(4)
    balance.eval()
    before = balance.sums.clone()
    balance(even, 10)
    assert torch.equal(balance.sums, before)
    assert Balance(4, 1)(one, 3) == pytest.approx(4)


def test_balance_gradient_reaches_the_current_batch_alone():
    balance = Balance(n_nodes=2, n_batches=2)
    balance(torch.tensor([1.0, 0.0], requires_grad=True), 1)
    mean = torch.tensor([0.5, 0.5], requires_grad=True)
    (gradient,) = torch.autograd.grad(balance(mean, 1), mean)
    torch.testing.assert_close(gradient, 2 * 2 * torch.tensor([0.75, 0.25]) / 2)


# -- codes ------------------------------------------------------------------------------------


def test_load_by_hand():
    load = NodeUsage.of(np.array([0, 0, 0, 2]), 4)
    assert (load.nodes, load.used, load.largest) == (4, 2, 0.75)
    assert load.entropy == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(4))
    assert NodeUsage.of(np.array([1, 1]), 2).entropy == 0
    assert NodeUsage.of(np.array([0, 1]), 2).entropy == pytest.approx(1)


def test_drift_by_hand():
    before, after = np.array([[0, 1, 2, 3], [0, 0, 1, 1]]), np.array([[0, 1, 3, 2], [0, 0, 1, 0]])
    assert drift(before, after) == [0.5, 0.25]
    with pytest.raises(ValueError, match="codes of one shape"):
        drift(before, after[:, :3])


def test_tree_of_codes_by_hand():
    coarse, fine = np.array([[0.0, 0], [10, 0]]), np.array([[0.0, 1], [0, 2], [0, 3]])
    codes = np.array([0, 0, 1, 1, 0]), np.array([2, 0, 0, 0, 2])
    items = coarse[codes[0]] + fine[codes[1]]
    tree = tree_of_codes(list("abcde"), codes, (coarse, fine), items)
    assert tree.nodes_per_depth == (3, 2)  # prefixes 00, 02, 10 occur
    assert tree.parents[0].tolist() == [1, 0, 2, 2, 1] and tree.parents[1].tolist() == [0, 0, 1]
    assert tree.vectors[0].tolist() == [[0, 1], [0, 3], [10, 1]]
    assert tree.vectors[1].tolist() == [[0, 0], [10, 0]]


# -- the stack --------------------------------------------------------------------------------


def by_the_paper(model, vectors, alpha):
    """The residual recursion (Eq. 4 to 6) and the upward one, layer by layer."""
    at_depth, balance = {}, 0
    if model.direction == "top_down":
        seen, total = vectors, 0
        for layer in reversed(range(model.depth)):
            relative = alpha / seen.square().sum(1).mean()
            pseudo, mean = plain_attention(seen, model.nodes[layer], relative)
            total = total + pseudo
            seen = vectors - total
            at_depth[layer], balance = total, balance + len(mean) * mean.square().sum()
    else:
        seen = vectors
        for layer in range(model.depth):
            relative = alpha / seen.square().sum(1).mean()
            seen, mean = plain_attention(seen, model.nodes[layer], relative)
            at_depth[layer], balance = seen, balance + len(mean) * mean.square().sum()
    errors = [(at_depth[d] - vectors).square().sum(1).mean() for d in range(model.depth)]
    reconstruction = sum(errors) / model.depth / vectors.square().sum(1).mean()
    return [at_depth[d] for d in range(model.depth)], reconstruction, balance / model.depth


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_step_is_the_papers_recursion(direction):
    torch.manual_seed(0)
    model = learner([7, 5, 3], dim=4, direction=direction, alpha=6.0, alpha_power=1.0, steps=3)
    vectors = torch.randn(20, 4)
    for step in range(2):  # alpha is 2, then 4
        model.balance.apply(lambda m: m.forget() if isinstance(m, Balance) else None)
        found = model(vectors)
        at_depth, reconstruction, balance = by_the_paper(model, vectors, 2.0 * (step + 1))
        for pair in zip(found.at_depth, at_depth, strict=True):
            torch.testing.assert_close(*pair)
        torch.testing.assert_close(found.reconstruction, reconstruction)
        torch.testing.assert_close(found.balance, balance)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_scale_of_the_vectors_changes_nothing(direction):
    torch.manual_seed(0)
    small, large = (learner([6, 3], dim=4, direction=direction) for _ in range(2))
    vectors = torch.randn(20, 4)
    large.load_state_dict(small.state_dict())
    with torch.no_grad():
        for nodes in large.nodes:
            nodes *= 1000
    a, b = small(vectors), large(vectors * 1000)
    torch.testing.assert_close(a.at_depth[0] * 1000, b.at_depth[0], rtol=1e-3, atol=1e-1)
    torch.testing.assert_close(a.reconstruction, b.reconstruction, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradients_reach_items_and_every_layer(direction):
    torch.manual_seed(0)
    model = learner([7, 3], dim=4, direction=direction)
    vectors = torch.randn(20, 4, requires_grad=True)
    at_depth, reconstruction, balance = model(vectors)
    (sum(x.sum() for x in at_depth) + reconstruction + balance).backward()
    assert vectors.grad.abs().sum() > 0
    assert all(nodes.grad.abs().sum() > 0 for nodes in model.nodes)


def planted():
    vectors, fine, coarse = planted_hierarchy(np.random.default_rng(0), 8, 8, 20)
    return torch.from_numpy(vectors), fine, coarse


def test_bottom_up_recovers_a_planted_hierarchy():
    vectors, fine, coarse = planted()
    model = learner([64, 8], direction="bottom_up")
    model.fit(vectors, epochs=60, batch_size=256, learning_rate=0.05, balance_weight=0.1)
    tree = model.publish([str(i) for i in range(len(vectors))], vectors)
    assert same_partition(tree.assignments(1), fine) and same_partition(tree.assignments(2), coarse)


def test_top_down_recovers_planted_codes():
    vectors, fine, coarse = planted()
    model = learner([64, 8]).fit(vectors, epochs=60, batch_size=256, learning_rate=0.05)
    tree = model.publish([str(i) for i in range(len(vectors))], vectors)
    assert same_partition(tree.assignments(1), fine) and same_partition(tree.assignments(2), coarse)
    # A node is the sum of its codewords, near the centre of its members.
    codes = model.codes(vectors)
    path = sum(model.nodes[d].detach()[codes[d]] for d in range(2))
    torch.testing.assert_close(torch.tensor(tree.vectors[0][tree.parents[0]]), path)
    assert float((path - vectors).square().mean()) < 0.01 * float(vectors.square().mean())


def collapsed(balance_weight, revive):
    """Starts all but one node far away, where no item is, and learns on."""
    vectors, _, coarse = planted()
    model = learner([8], direction="bottom_up", steps=30 * 5, alpha=5.0, alpha_power=1.0)
    model.revives = revive
    model.started.fill_(True)
    torch.manual_seed(0)
    with torch.no_grad():
        model.nodes[0].copy_(torch.randn(8, 16) + 60)
        model.nodes[0][0] = vectors.mean(0)
    model.partial_fit(
        vectors, epochs=30, batch_size=256, learning_rate=0.05, balance_weight=balance_weight
    )
    code = model.codes(vectors)[0]
    purity = sum(np.bincount(coarse[code == n]).max() for n in set(code.tolist())) / len(code)
    return model.usage_of(vectors)[0], purity


def test_a_collapsed_start_stays_collapsed_without_help_and_recovers_with_it():
    load, purity = collapsed(balance_weight=0.0, revive=False)
    assert load.used <= 2 and purity < 0.3
    load, purity = collapsed(balance_weight=1.0, revive=True)
    assert load.used == 8 and load.entropy > 0.98 and purity > 0.75


def test_balance_alone_evens_the_load():
    found = {0.0: [], 3.0: []}  # over several starts: rounding decides one (another on AVX2)
    for seed in range(4):
        torch.manual_seed(seed)
        vectors = torch.randn(1000, 2).exp()  # crowded near zero, thin far out
        for weight, loads in found.items():
            model = learner([8], dim=2, direction="bottom_up", alpha=10.0, alpha_power=0.0)
            model.fit(vectors, epochs=40, batch_size=250, learning_rate=0.05, balance_weight=weight)
            loads.append(model.usage_of(vectors)[0])
    plain, balanced = (
        np.array([(load.largest, load.entropy) for load in loads]) for loads in found.values()
    )
    assert (balanced[:, 0] < plain[:, 0]).all()
    gain = (balanced - plain).mean(0)
    assert gain[0] < -0.05 and gain[1] > 0.02


def started(first_nodes, direction="top_down", seed=0, sizes=(400, 300)):
    vectors = torch.randn(500, 16, generator=torch.Generator().manual_seed(5)) * 0.3
    schedule = Schedule(alpha=100.0, alpha_power=2.0, steps=1, warmup_steps=10)
    model = LearnedIndex(sizes, 16, direction=direction, schedule=schedule, first_nodes=first_nodes)
    model.step.fill_(7)
    model.start(vectors, seed=seed)
    assert int(model.step) == 0 and model.started
    return vectors, [nodes.detach() for nodes in model.nodes]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_random_nodes_are_normal_draws_at_the_scale_of_what_their_layer_sees(direction):
    vectors, (fine, coarse) = started("random", direction)
    layers = [(fine, vectors), (coarse, vectors)]
    if direction == "top_down":
        residuals = vectors - coarse[torch.cdist(vectors, coarse).argmin(1)]
        assert float(residuals.std() / vectors.std()) == pytest.approx(0.81, abs=0.01)
        layers = [(coarse, vectors), (fine, residuals)]
    draws = np.random.default_rng(0)
    for nodes, seen in layers:
        scale = seen.square().mean().sqrt()
        drawn = torch.from_numpy(draws.standard_normal(nodes.shape, dtype=np.float32))
        torch.testing.assert_close(nodes, drawn * scale)
        assert float(nodes.std() / scale) == pytest.approx(1, abs=0.03)


def correlation(a, b) -> float:
    return float(torch.corrcoef(torch.stack((a.ravel(), b.ravel())))[0, 1])


def test_random_nodes_follow_the_seed_alone():
    first, again, other = (started("random", seed=seed)[1] for seed in (2020, 2020, 2021))
    for nodes, same, different in zip(first, again, other, strict=True):
        assert torch.equal(nodes, same) and abs(correlation(nodes, different)) < 0.1
        # Nor are they the draws from which a backbone with this seed starts.
        weights = torch.randn(nodes.shape, generator=torch.Generator().manual_seed(2020))
        assert abs(correlation(nodes, weights)) < 0.1


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_kmeans_nodes_are_those_of_the_clusterer(direction):
    vectors, nodes = started("kmeans", direction, sizes=(20, 6))
    seen, order = vectors.numpy(), [0, 1] if direction == "bottom_up" else [1, 0]
    for layer in order:
        centres, code = cluster(seen, (20, 6)[layer], seed=0, iterations=5)
        assert np.array_equal(nodes[layer].numpy(), centres)
        seen = centres if direction == "bottom_up" else seen - centres[code]


def test_revive_moves_only_unused_nodes_and_onto_items():
    vectors, _, _ = planted()
    model = learner([8], direction="bottom_up")
    model.start(vectors, seed=0)
    with torch.no_grad():
        model.nodes[0][[2, 5]] = 1000.0
    before = model.nodes[0].detach().clone()
    assert model.revive(vectors) == 2
    moved = (model.nodes[0] != before).any(1)
    assert moved.nonzero().flatten().tolist() == [2, 5]
    nearest = torch.cdist(model.nodes[0].detach()[[2, 5]], vectors).min(1).values
    assert (nearest < 0.1 * vectors.norm(dim=1).mean()).all()
    assert model.usage_of(vectors)[0].used == 8 and model.revive(vectors) == 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_permuting_items_relabels_the_tree(direction):
    vectors, _, _ = planted()
    model = learner([64, 8], direction=direction)
    model.start(vectors, seed=0)
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(1))
    codes = model.codes(vectors)
    assert np.array_equal(codes[:, order.numpy()], model.codes(vectors[order]))
    tree = model.publish([str(i) for i in range(len(vectors))], vectors)
    other = model.publish([str(i) for i in order.tolist()], vectors[order])
    for depth in (1, 2):
        assert np.array_equal(tree.assignments(depth)[order.numpy()], other.assignments(depth))


def test_nodes_without_items_are_not_published():
    vectors, _, _ = planted()
    model = learner([20, 12], direction="bottom_up")
    model.start(vectors, seed=0)
    with torch.no_grad():
        model.nodes[0][3] = model.nodes[1][7] = 1e4
    tree = model.publish([str(i) for i in range(len(vectors))], vectors)
    loads = model.usage_of(vectors)
    assert tree.nodes_per_depth == (loads[0].used, loads[1].used)
    assert loads[0].used == 19 and loads[1].used <= 11
    codes = model.codes(vectors)
    for depth in (1, 2):
        assert same_partition(tree.assignments(depth), codes[depth - 1])
    # Each published node's vector is the learnt one.
    first = model.nodes[0].detach()[codes[0]].numpy()
    np.testing.assert_array_equal(tree.vectors[0][tree.parents[0]], first)


def test_partial_fit_goes_on_and_new_items_are_assigned_at_once():
    vectors, fine, _ = planted()
    known = torch.from_numpy(np.flatnonzero(fine % 8 != 7))  # one fine group of each coarse is new
    model = learner([64, 8], direction="bottom_up")
    model.fit(vectors[known], epochs=20, batch_size=256, learning_rate=0.05)
    step, before = int(model.step), model.codes(vectors[known])
    codes = model.codes(vectors)  # new items too, with no training
    assert np.array_equal(codes[:, known.numpy()], before)
    model.partial_fit(vectors, epochs=5, batch_size=256, learning_rate=0.05)
    assert int(model.step) == step + 5 * 5
    moved = drift(before, model.codes(vectors[known]))
    assert 0 <= moved[1] <= 1 and model.usage_of(vectors)[0].used > 56


def test_same_seed_same_nodes_and_a_round_trip_of_the_weights():
    vectors, _, _ = planted()
    first, second = learner([64, 8]), learner([64, 8])
    for model in (first, second):
        torch.manual_seed(0)
        model.fit(vectors, epochs=2, batch_size=256)
    assert all(torch.equal(a, b) for a, b in zip(first.nodes, second.nodes, strict=True))
    third = learner([64, 8])
    third.load_state_dict(first.state_dict())
    assert int(third.step) == int(first.step) > 0 and third.started
    assert np.array_equal(third.codes(vectors), first.codes(vectors))


# -- bad input --------------------------------------------------------------------------------


def test_bad_sizes_and_vectors():
    vectors = torch.randn(10, 4)
    with pytest.raises(ValueError, match="asks for 12 nodes at depth 1, over 10"):
        learner([12], dim=4).start(vectors, seed=0)
    with pytest.raises(ValueError, match="5 nodes at depth 2, over 3"):
        learner([3, 5], dim=4, direction="bottom_up")
    with pytest.raises(ValueError, match="positive integers"):
        learner([0], dim=4)
    with pytest.raises(ValueError, match="index_direction must be one of"):
        learner([3], dim=4, direction="sideways")
    with pytest.raises(ValueError, match="index_start must be one of kmeans, random, got 'zeros'"):
        LearnedIndex([3], 4, schedule=Schedule(1.0, 0.0, 1, 0), first_nodes="zeros")
    vectors[[3, 7], 1] = torch.nan
    model = learner([3], dim=4)
    message = r"item vectors must be finite, but 2 of 10 are not \(row 3, 7\)"
    for call in (
        lambda: model.publish([str(i) for i in range(10)], vectors),
        lambda: model.partial_fit(vectors),
        lambda: model.start(vectors, seed=0),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_identical_items_and_a_single_one(direction):
    for vectors in (torch.ones(6, 4), torch.randn(1, 4), torch.zeros(3, 4)):
        sizes = [min(2, len(vectors)), 1]
        model = learner(sizes, dim=4, direction=direction)
        torch.manual_seed(0)
        model.fit(vectors, epochs=2)
        tree = model.publish([str(i) for i in range(len(vectors))], vectors)
        assert tree.n_items == len(vectors) and tree.depth == 2
        assert all(np.isfinite(v).all() for v in tree.vectors)


def test_the_documentations_example_runs():
    page = Path(__file__).resolve().parents[1] / "docs" / "howto" / "index-learning.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    (example,) = [block for block in blocks if "LearnedIndex(" in block]
    torch.manual_seed(0)
    names = {}
    exec(example, names)
    assert names["rows"].shape == (3, 10) and names["index"].n_items == 2000
    assert (names["scores"].diff(dim=1) <= 0).all() and (names["rows"] >= 0).all()
