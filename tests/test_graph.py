"""The graph against dense matrices."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_hill.data.graph import EVERY, InteractionGraph, product, propagate, propagate_to
from recbole_hill.data.neighbours import nearest_neighbours
from recbole_hill.data.polynomial import polynomial


@pytest.fixture
def interactions():
    matrix = (np.random.default_rng(1).random((7, 9)) < 0.4).astype(np.float32)
    matrix[0] = 0  # RecBole's padding user
    matrix[:, 0] = 0  # and item
    return sp.csr_matrix(matrix)


def dense_normalized(adjacency):
    degree = adjacency.sum(1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    return scale[:, None] * adjacency * scale


def dense_adjacency(interactions):
    r = interactions.toarray()
    u, i = r.shape
    return np.block([[np.zeros((u, u)), r], [r.T, np.zeros((i, i))]])


def test_normalized_adjacency(interactions):
    graph = InteractionGraph(interactions)
    expected = dense_normalized(dense_adjacency(interactions))
    np.testing.assert_allclose(graph.normalized().to_dense(), expected, rtol=1e-6)


def test_repeated_interactions_count_once(interactions):
    coo = interactions.tocoo()
    twice = sp.coo_matrix(
        (np.r_[coo.data, coo.data], (np.r_[coo.row, coo.row], np.r_[coo.col, coo.col])), coo.shape
    )
    a, b = InteractionGraph(interactions), InteractionGraph(twice)
    assert torch.equal(a.normalized().to_dense(), b.normalized().to_dense())


@pytest.mark.parametrize("kind", ["drop_nodes", "drop_edges"])
def test_views_are_renormalised_symmetric_subgraphs(interactions, kind):
    torch.manual_seed(3)
    view = getattr(InteractionGraph(interactions), kind)(0.4).to_dense().numpy()
    kept = (view != 0).astype(float)
    np.testing.assert_allclose(kept, kept.T)
    assert 0 < kept.sum() < 2 * interactions.nnz
    assert ((dense_adjacency(interactions) - kept) >= 0).all()
    np.testing.assert_allclose(view, dense_normalized(kept), rtol=1e-6)


def test_drop_nodes_drops_whole_nodes(interactions):
    torch.manual_seed(3)
    full = dense_adjacency(interactions)
    kept = InteractionGraph(interactions).drop_nodes(0.4).to_dense().numpy() != 0
    alive = kept.any(1)
    np.testing.assert_array_equal(kept, (full > 0) & alive[:, None] & alive)


@pytest.mark.parametrize("kind", ["drop_nodes", "drop_edges"])
def test_share_dropped(kind):
    graph = InteractionGraph(sp.csr_matrix(np.ones((60, 70), dtype=np.float32)))
    torch.manual_seed(0)
    views = [getattr(graph, kind)(0.3).values() for _ in range(20)]
    assert all(view.all() for view in views)  # a dropped edge is not stored
    kept = np.mean([len(view) / (2 * 60 * 70) for view in views])
    assert kept == pytest.approx(0.7**2 if kind == "drop_nodes" else 0.7, abs=0.02)


@pytest.mark.parametrize("with_ego", [True, False])
def test_propagation_and_its_backward(interactions, with_ego):
    matrix = InteractionGraph(interactions).normalized()
    dense = matrix.to_dense()
    x = torch.randn(len(dense), 5, requires_grad=True)
    fast = propagate(matrix, x, 3, with_ego=with_ego)
    layers = [torch.linalg.matrix_power(dense, power) @ x for power in range(4)]
    slow = sum(layers[0 if with_ego else 1 :]) / (4 if with_ego else 3)
    torch.testing.assert_close(fast, slow)
    weight = torch.randn_like(x)
    a, b = (torch.autograd.grad((y * weight).sum(), x)[0] for y in (fast, slow))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("with_ego", [True, False])
@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_propagation_of_some_nodes_is_those_rows(interactions, n_layers, with_ego):
    if not n_layers and not with_ego:
        pytest.skip("a mean of nothing")
    matrix = InteractionGraph(interactions).normalized()
    x = torch.randn(len(matrix), 5, requires_grad=True)
    nodes = torch.randint(len(matrix) // 2, (len(matrix),))  # some more than once
    some = propagate_to(nodes, matrix, x, n_layers, with_ego=with_ego)
    rows = propagate(matrix, x, n_layers, with_ego=with_ego)[nodes], x[nodes]
    weights = torch.randn(2, *rows[0].shape)
    found = []
    for vectors, own in (some, rows):
        value = (vectors * weights[0]).sum() + (own * weights[1]).sum()
        found.append((vectors, own, *torch.autograd.grad(value, x)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_propagation_of_no_nodes(interactions):
    matrix = InteractionGraph(interactions).normalized()
    x = torch.randn(len(matrix), 5, requires_grad=True)
    nothing, _ = propagate_to(torch.tensor([], dtype=torch.long), matrix, x, 2, with_ego=True)
    nothing.sum().backward()
    assert nothing.shape == (0, 5) and not x.grad.any()


SOME = torch.tensor([12, 3, 0, 5])


@pytest.mark.parametrize("nodes", [EVERY, SOME])
def test_product_and_means_of_some_nodes(interactions, nodes):
    graph = InteractionGraph(interactions)
    x = torch.randn(len(graph), 5, requires_grad=True)
    plain = torch.from_numpy(dense_adjacency(interactions)).float()
    means = plain / plain.sum(1, keepdim=True).clamp_min(1)
    for found, expected in (
        (product(graph.plain(), x, nodes), (plain @ x)[nodes]),
        (graph.neighbour_means(x, nodes), (means @ x)[nodes]),
    ):
        torch.testing.assert_close(found, expected)
        weight = torch.randn_like(expected)
        ours, slow = (torch.autograd.grad((y * weight).sum(), x)[0] for y in (found, expected))
        torch.testing.assert_close(ours, slow)


@pytest.mark.parametrize(("left", "right"), [(0.6, -0.1), (0.0, 1.0), (0.5, 0.5)])
def test_other_powers_of_the_degrees(interactions, left, right):
    graph, adjacency = InteractionGraph(interactions), dense_adjacency(interactions)
    degree = np.maximum(adjacency.sum(1), 1)
    expected = degree[:, None] ** -left * adjacency * degree**-right
    found, other = graph.normalized(left, right), graph.normalized(right, left)
    np.testing.assert_allclose(found.to_dense(), expected, rtol=1e-6)
    assert torch.equal(other.to_dense(), found.to_dense().T)
    assert graph.normalized(left, right) is found


def test_sides_are_the_halves_of_the_graph(interactions):
    graph = InteractionGraph(interactions)
    users, items = (side.to_dense() for side in graph.sides())
    expected = graph.normalized().to_dense()[: graph.n_users, graph.n_users :]
    assert torch.equal(users, expected) and torch.equal(items, expected.T)


@pytest.mark.parametrize("nodes", [EVERY, torch.tensor([5, 3, 0, 5])])
@pytest.mark.parametrize("kind", ["users", "items", "powers"])
def test_product_with_a_matrix_that_is_not_symmetric(interactions, kind, nodes):
    graph = InteractionGraph(interactions)
    matrix, transposed = {
        "users": graph.sides(),
        "items": graph.sides()[::-1],
        "powers": (graph.normalized(0.6, -0.1), graph.normalized(-0.1, 0.6)),
    }[kind]
    x = torch.randn(matrix.shape[1], 5, requires_grad=True)
    found = product(matrix, x, nodes, transposed=transposed)
    expected = (matrix.to_dense() @ x)[nodes]
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(expected)
    ours, slow = (torch.autograd.grad((y * weight).sum(), x)[0] for y in (found, expected))
    torch.testing.assert_close(ours, slow)


@pytest.mark.parametrize("learnt", [True, False])
@pytest.mark.parametrize("nodes", [EVERY, SOME])
@pytest.mark.parametrize("degree", [1, 3])
def test_polynomial_by_dense_powers(interactions, degree, nodes, learnt):
    matrix = InteractionGraph(interactions).normalized()
    x = torch.randn(len(matrix), 5, requires_grad=True)
    coefficients = torch.tensor([0.3, -1.2, 0.0, 2.5])[: degree + 1].requires_grad_(learnt)
    found = polynomial(matrix, x, coefficients, nodes)
    powers = [torch.linalg.matrix_power(matrix.to_dense(), k) @ x for k in range(degree + 1)]
    slow = sum(c * power for c, power in zip(coefficients, powers, strict=True))[nodes]
    torch.testing.assert_close(found, slow)
    weight, inputs = torch.randn_like(slow), (x, coefficients)[: 1 + learnt]
    gradients = (torch.autograd.grad((y * weight).sum(), inputs) for y in (found, slow))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected)


def slow_neighbours(matrix, k):
    rows = matrix.toarray().astype(np.float64)
    norms = np.linalg.norm(rows, axis=1)
    ids, values = [], []
    for a in range(len(rows)):
        cosine = np.array(
            [
                rows[a] @ rows[b] / (norms[a] * norms[b]) if norms[a] * norms[b] and a != b else 0
                for b in range(len(rows))
            ]
        )
        best = [b for b in np.lexsort((np.arange(len(rows)), -cosine.round(6))) if cosine[b] > 0]
        best = best[:k]
        ids.append(best + [a] * (k - len(best)))
        values.append([*cosine[best], *[0] * (k - len(best))])
    return np.array(ids), np.array(values)


@pytest.mark.parametrize("block", [10, 4_000_000])
def test_neighbours_against_all_pairs(block):
    rng = np.random.default_rng(5)
    matrix = sp.csr_matrix((rng.random((40, 25)) < 0.15).astype(np.float32))
    ids, values = nearest_neighbours(matrix, 4, block_entries=block)
    expected_ids, expected_values = slow_neighbours(matrix, 4)
    np.testing.assert_allclose(values, expected_values, atol=1e-6)
    np.testing.assert_array_equal(ids, expected_ids)


def test_neighbours_need_a_positive_k():
    with pytest.raises(ValueError, match="n_neighbours must be at least 1, got 0"):
        nearest_neighbours(sp.identity(3, format="csr"), 0)
