"""The pair loss by hand, its negatives, the average control, and reversibility."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recbole_hill.adapt.controls import move_toward_nodes
from recbole_hill.adapt.finetune import PairLoss, TestTimeTraining
from recbole_hill.adapt.pairs import Pairs
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.node_vectors import NodeVectors

PARENTS = (np.array([0, 0, 1, 1, 2, 3]), np.array([0, 0, 1, 1]))


@pytest.fixture
def made():
    torch.manual_seed(0)
    items, users = torch.randn(7, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    vectors = items[1:].detach().numpy()
    index = HierarchicalIndex.build(list("abcdef"), PARENTS, vectors)
    return users, items, NodeVectors(index)


def pairs_of(*triples) -> Pairs:
    users, nodes, depths = np.array(triples, dtype=np.int64).reshape(-1, 3).T
    return Pairs(users, nodes, depths, np.ones(len(users)), phi_dep=2)


def test_node_vectors_follow_the_items_and_their_gradient(made):
    _, items, nodes = made
    means = nodes.means(items, 2)
    torch.testing.assert_close(means, torch.stack([items[1:5].mean(0), items[5:7].mean(0)]))
    gradient = torch.autograd.grad(means[1].sum(), items)[0]
    torch.testing.assert_close(gradient[:, 0], torch.tensor([0, 0, 0, 0, 0, 0.5, 0.5]))
    torch.testing.assert_close(nodes.frozen(1), nodes.means(items, 1).detach())
    assert nodes.of_items(torch.tensor([1, 4, 6]), 1).tolist() == [0, 1, 3]


@pytest.mark.parametrize("chosen", [[1, 0, 1], [0], []])
def test_some_node_vectors_are_those_of_all(made, chosen):
    _, items, nodes = made
    assert nodes.count(2) == 2
    chosen = torch.tensor(chosen, dtype=torch.long)
    weights = torch.randn(len(chosen), 3)
    some = nodes.chosen("members", chosen, 2, items.__getitem__)
    all_ = nodes.means(items, 2)[chosen]
    torch.testing.assert_close(some, all_)
    gradients = [torch.autograd.grad((x * weights).sum(), items)[0] for x in (some, all_)]
    torch.testing.assert_close(*gradients)


def test_pair_loss_by_hand_where_the_negative_is_forced(made):
    users, items, nodes = made
    # Depth 2 has two nodes: the only other one is the negative.
    loss = PairLoss(pairs_of((1, 0, 2)), nodes, 5, negatives="random", node_vectors="members")
    left, right = items[1:5].mean(0), items[5:7].mean(0)
    expected = F.softplus(users[1] @ right - users[1] @ left)
    torch.testing.assert_close(loss(users, items), expected)


def test_all_nodes_as_negatives_are_a_softmax_over_the_depth(made):
    users, items, nodes = made
    loss = PairLoss(pairs_of((1, 2, 1)), nodes, 5, negatives="all", node_vectors="members")
    scores = users[1] @ nodes.means(items, 1).T
    torch.testing.assert_close(loss(users, items), scores.logsumexp(0) - scores[2])


def test_pairs_weigh_by_their_rate_within_their_depth(made):
    users, items, nodes = made
    pairs = replace(pairs_of((1, 0, 2), (2, 0, 2), (3, 2, 1)), rates=np.array([0.3, 0.9, 0.5]))
    loss = PairLoss(pairs, nodes, 1, negatives="all", node_vectors="members", by_rate=True)
    assert [weights.tolist() for _, _, weights, _ in loss.draws.by_depth.values()] == [
        [1],
        [0.5, 1.5],
    ]
    alone = PairLoss(pairs, nodes, 1, negatives="all", node_vectors="members")
    drawn = iter([torch.tensor([0]), torch.tensor([1, 1])] * 2)
    with pytest.MonkeyPatch.context() as patch:  # of depth 2, the second pair twice
        patch.setattr(torch, "randint", lambda *_, **__: next(drawn))
        weighted, plain = (one(users, items) for one in (loss, alone))
    of_second = F.cross_entropy(users[2] @ nodes.means(items, 2).T, torch.tensor(0))
    torch.testing.assert_close(weighted - plain, 2 * 0.5 * of_second / 3)


def test_pairs_of_some_users():
    pairs = pairs_of((1, 0, 2), (2, 0, 2), (3, 2, 1))
    kept = pairs.of_users(np.array([True, False, True, True]))
    assert list(zip(kept.users, kept.nodes, kept.depths, strict=True)) == [(2, 0, 2), (3, 2, 1)]
    assert kept.phi_dep == 2


def test_frozen_nodes_give_items_no_gradient(made):
    users, items, nodes = made
    loss = PairLoss(pairs_of((1, 0, 2)), nodes, 5, negatives="random", node_vectors="frozen")
    loss(users, items).backward()
    assert items.grad is None and users.grad[1].abs().sum() > 0


@pytest.mark.parametrize("kind", ["random", "sibling", "hard"])
def test_a_negative_is_never_the_node_itself(made, kind):
    users, items, nodes = made
    loss = PairLoss(pairs_of((1, 0, 1)), nodes, 1, negatives=kind, node_vectors="members")
    node = torch.arange(4).repeat_interleave(200)
    negative = loss._negatives(1, users[torch.zeros(800).long()], node, items)
    assert (negative != node).all()
    drawn = {n: set(negative[node == n].tolist()) for n in range(4)}
    if kind == "random":
        assert drawn == {n: set(range(4)) - {n} for n in range(4)}
    if kind == "sibling":
        assert drawn == {0: {1}, 1: {0}, 2: {3}, 3: {2}}
    if kind == "hard":
        scores = (nodes.means(items, 1) @ users[0]).tolist()
        for n in range(4):
            assert drawn[n] == {max(set(range(4)) - {n}, key=scores.__getitem__)}


def test_only_child_takes_any_other_node_as_its_sibling():
    index = HierarchicalIndex.build(
        list("abc"), (np.array([0, 1, 2]), np.array([0, 1, 1])), np.eye(3, dtype=np.float32)
    )
    nodes = NodeVectors(index)
    loss = PairLoss(pairs_of((0, 0, 1)), nodes, 1, negatives="sibling", node_vectors="members")
    node = torch.zeros(100).long()
    negative = loss._negatives(1, torch.randn(100, 3), node, torch.zeros(4, 3))
    assert set(negative.tolist()) == {1, 2}


def test_siblings_are_uniform():
    index = HierarchicalIndex.build(
        list("abcde"), (np.arange(5), np.array([0, 0, 0, 0, 1])), np.eye(5, dtype=np.float32)
    )
    torch.manual_seed(0)
    drawn = NodeVectors(index).sibling(torch.full((9000,), 2), 1)
    share = torch.bincount(drawn, minlength=5) / 9000
    torch.testing.assert_close(share, torch.tensor([1, 1, 0, 1, 0]) / 3, atol=0.02, rtol=0)


def test_an_epoch_visits_each_pair_about_once(made):
    _, _, nodes = made
    pairs = pairs_of(*[(u, n, 1) for u in range(4) for n in range(4)], (0, 1, 2))
    loss = PairLoss(pairs, nodes, steps=5, negatives="random", node_vectors="members")
    assert {depth: size for depth, (*_, size) in loss.draws.by_depth.items()} == {1: 4, 2: 1}


def test_move_toward_nodes_by_hand(made):
    users, items, nodes = made
    moved = move_toward_nodes(users, items, pairs_of((1, 0, 1), (1, 0, 2), (2, 3, 1)), nodes, 0.25)
    mean = (items[1:3].mean(0) + items[1:5].mean(0)) / 2
    torch.testing.assert_close(moved[1], 0.75 * users[1] + 0.25 * mean)
    torch.testing.assert_close(moved[2], 0.75 * users[2] + 0.25 * items[6])
    assert torch.equal(moved[[0, 3]], users[[0, 3]])


class Toy(torch.nn.Module):
    """Two embedding tables with a loss that moves them."""

    def __init__(self):
        super().__init__()
        self.users = torch.nn.Parameter(torch.randn(4, 3))
        self.items = torch.nn.Parameter(torch.randn(7, 3))

    def calculate_loss(self, interaction):
        return self.users.square().sum()

    def backbone_loss(self, interaction):
        return self.calculate_loss(interaction)

    def loss_and_vectors(self, interaction):
        return self.calculate_loss(interaction), self.users, self.items

    def batch_weight(self, interaction):
        return 3


def test_training_adds_the_weighted_pair_loss_and_resets_bit_for_bit(made):
    _, _, nodes = made
    torch.manual_seed(1)
    model = Toy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pair_loss = PairLoss(pairs_of((1, 0, 2)), nodes, 1, negatives="random", node_vectors="members")
    training = TestTimeTraining(model, pair_loss, weight=0.5)
    expected = model.users.square().sum() + 3 * 0.5 * pair_loss(model.users, model.items)
    torch.testing.assert_close(training.loss(SimpleNamespace()), expected)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        training.loss(None).backward()
        optimizer.step()
    assert not torch.equal(model.items, before["items"])
    training.reset()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_continue_control_has_no_pairs_in_it():
    model = Toy()
    training = TestTimeTraining(model, None, weight=0.5)
    assert training.loss(None) == model.calculate_loss(None)


def test_a_pair_weighs_as_an_interaction(made):
    users, items, nodes = made
    pairs = pairs_of((1, 0, 2), (2, 0, 2))
    pair_loss = PairLoss(pairs, nodes, 1, negatives="random", node_vectors="members")
    assert pair_loss.draws.pairs_a_step == 2
    model = SimpleNamespace(
        state_dict=dict,
        batch_weight=lambda batch: 1,
        loss_and_vectors=lambda batch: (torch.tensor(3.0), users, items),
    )
    batch = range(8)
    seeded = []
    for by_interaction in (False, True):
        training = TestTimeTraining(model, pair_loss, 0.5, by_interaction=by_interaction)
        torch.manual_seed(0)
        seeded.append(training.loss(batch) - 3)
    torch.manual_seed(0)
    alone = pair_loss(users, items)
    torch.testing.assert_close(seeded, [0.5 * alone, 0.5 * alone * 2 / 8])


def test_the_backbones_loss_takes_nodes_in_the_place_of_items(made):
    users, items, nodes = made
    seen = {}

    def ranking_loss(users, vectors, user, positive, negative):
        seen.update(user=user, positive=vectors[positive], negative=vectors[negative])
        return vectors.sum() * 0 + 7

    pairs = pairs_of((1, 0, 2), (2, 1, 2))
    options = {"negatives": "random", "node_vectors": "members", "n_negatives": 3}
    loss = PairLoss(pairs, nodes, 1, ranking_loss=ranking_loss, **options)
    assert float(loss(users, items)) == 7
    means = nodes.means(items, 2)
    of_pairs = {1: means[0], 2: means[1]}
    others = {1: means[1], 2: means[0]}  # of two nodes the other is every negative
    for row, user in enumerate(seen["user"].tolist()):
        torch.testing.assert_close(seen["positive"][row], of_pairs[user])
        torch.testing.assert_close(seen["negative"][row], others[user].expand(3, -1))
