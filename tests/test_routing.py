"""Routing, grouping and shortcuts over the graph, against loops and dense matrices."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from reference import close, ego, noting, vectors

from recbole_hill.data.graph import EVERY, InteractionGraph
from recbole_hill.host.dropout import dropout
from recbole_hill.model.baselines.deosgcf import deoscillated
from recbole_hill.model.baselines.dgcf import distance_correlation
from recbole_hill.model.baselines.impgcn import grouped
from recbole_hill.model.bases.routing import (
    chunk_products,
    chunk_sums,
    edges_of,
    join_chunks,
    split_chunks,
)


@pytest.fixture
def graph():
    """Four users, five items; user 0 and item 0 without edges."""
    rows, columns = [1, 1, 1, 2, 2, 3, 3], [1, 2, 4, 2, 3, 1, 2]
    return InteractionGraph(sp.csr_matrix((np.ones(7), (rows, columns)), shape=(4, 5)))


def unit(x):
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)


# -- chunks -------------------------------------------------------------------------------------


def test_chunks_split_and_join():
    x = torch.arange(12.0).view(2, 6)
    assert split_chunks(x, 3)[1].tolist() == [[2, 3], [8, 9]]
    assert torch.equal(join_chunks(split_chunks(x, 3)), x)


def test_reverse_turns_every_edge_around(graph):
    back = graph.reverse()
    assert torch.equal(graph.row[back], graph.col) and torch.equal(graph.col[back], graph.row)


@pytest.mark.parametrize("nodes", [EVERY, torch.tensor([6, 1, 0, 8])])
def test_chunk_sums_and_products_by_plain_gathering(graph, nodes):
    torch.manual_seed(0)
    weights = torch.randn(2, len(graph.col), requires_grad=True)
    x, y = (torch.randn(2, len(graph), 3, requires_grad=True) for _ in range(2))
    messages = weights.unsqueeze(2) * x[:, graph.col]
    sums = torch.zeros_like(x).index_add(1, graph.row, messages)
    products = (x[:, graph.row] * y[:, graph.col]).sum(2)
    edges = edges_of(graph, nodes)
    pairs = (
        (chunk_sums(edges, weights[:, edges.places], x), sums[:, nodes], (weights, x)),
        (chunk_products(edges, x[:, nodes], y), products[:, edges.places], (x, y)),
    )
    for found, expected, inputs in pairs:
        close(found, expected)
        slope = torch.randn_like(expected)
        gradients = (torch.autograd.grad(f, inputs, slope) for f in (found, expected))
        for one, other in zip(*gradients, strict=True):
            close(one, other)


# -- DGCF ---------------------------------------------------------------------------------------


def routed(x, graph, n_factors, n_layers, n_iterations):
    """DGCF's vectors, edge by edge."""
    edges = list(zip(graph.row.tolist(), graph.col.tolist(), strict=True))
    scores, layers = torch.ones(len(edges), n_factors), [x]
    for _ in range(n_layers):
        nodes = layers[-1].view(len(x), n_factors, -1)
        for _ in range(n_iterations):
            chosen = scores.softmax(1)
            degree = torch.zeros(len(x), n_factors)
            for e, (u, _) in enumerate(edges):
                degree[u] += chosen[e]
            after = torch.zeros_like(nodes)
            for e, (u, v) in enumerate(edges):
                weight = chosen[e] / (degree[u] * degree[v]).sqrt()
                after[u] += weight.unsqueeze(1) * nodes[v]
            scores = scores + torch.stack(
                [(unit(after[u]) * unit(nodes[v]).tanh()).sum(1) for u, v in edges]
            )
        layers.append(after.flatten(1))
    return sum(layers) / len(layers)


@pytest.mark.parametrize(("n_layers", "n_iterations"), [(1, 2), (2, 2)])
def test_dgcf_edge_by_edge(build, n_layers, n_iterations):
    changes = {"n_layers": n_layers, "n_iterations": n_iterations}
    model, _ = build("DGCF", n_factors=4, init_std=1.0, **changes)
    close(vectors(model), routed(ego(model), model.graph, 4, n_layers, n_iterations))


def test_dgcf_is_recboles(build):
    recbole = pytest.importorskip("recbole.model.general_recommender.dgcf")
    changes = {"n_layers": 2, "n_iterations": 2, "n_factors": 4}
    model, _ = build("DGCF", reg_weight=0.0, cor_weight=0.0, **changes)
    theirs = recbole.DGCF.__new__(recbole.DGCF)
    torch.nn.Module.__init__(theirs)
    edges = model.graph.row, model.graph.col
    places, ones = torch.arange(len(edges[0])), torch.ones(len(edges[0]))
    n_nodes, n_edges = len(model.graph), len(places)
    theirs.device, theirs.num_edge = torch.device("cpu"), n_edges
    theirs.n_users, theirs.n_items = model.n_users, model.n_items
    theirs.all_h_list, theirs.all_t_list = edges

    def sparse(rows, columns, shape):
        return torch.sparse_coo_tensor(torch.stack((rows, columns)), ones, shape)

    theirs.edge2head_mat = sparse(edges[0], places, (n_nodes, n_edges))
    theirs.head2edge_mat = sparse(places, edges[0], (n_edges, n_nodes))
    theirs.tail2edge_mat = sparse(places, edges[1], (n_edges, n_nodes))
    theirs.softmax = torch.nn.Softmax(dim=1)
    for key, value in changes.items():
        setattr(theirs, key, value)
    theirs.user_embedding, theirs.item_embedding = model.user_embedding, model.item_embedding
    close(vectors(model), torch.cat(theirs.forward()))
    nodes = torch.randn(9, model.user_embedding.weight.shape[1])
    close(model.correlation(nodes), theirs.create_cor_loss(nodes[:4], nodes[4:]))


def test_distance_correlation_by_loop():
    torch.manual_seed(0)
    x, y = torch.randn(6, 2), torch.randn(6, 3)

    def centered(z):
        n = len(z)
        d = [[(z[i] - z[j]).norm() for j in range(n)] for i in range(n)]
        rows = [sum(row) / n for row in d]
        whole = sum(rows) / n
        return torch.tensor(
            [[d[i][j] - rows[i] - rows[j] + whole for j in range(n)] for i in range(n)]
        )

    a, b = centered(x), centered(y)
    expected = ((a * b).mean() / ((a * a).mean() * (b * b).mean()).sqrt()).sqrt()
    found = distance_correlation(x, y)
    assert found.item() == pytest.approx(expected.item(), abs=1e-3)
    assert distance_correlation(x, 3 * x + 1).item() == pytest.approx(1, abs=1e-3)


def test_dgcfs_loss_adds_the_correlation(build):
    losses = []
    for weight in (0.0, 0.5):
        model, batch = build("DGCF", n_factors=4, cor_weight=weight)
        model.n_sampled = 1000  # all, so that the sample's order is all that is random
        torch.manual_seed(3)
        losses.append(model.calculate_loss(batch).item())
    users, items = model.user_item_embeddings()
    added = 0.5 * model.correlation(torch.cat((users[1:], items[1:])))
    assert losses[1] - losses[0] == pytest.approx(added.item(), rel=1e-3)


def test_dgcfs_correlation_is_of_a_batchs_share_of_the_nodes(build, monkeypatch):
    model, batch = build("DGCF", n_factors=4, cor_weight=0.5, train_batch_size=100)
    batches = model.graph.n_edges // 100 + 1
    n = max(model.n_users, model.n_items) // batches
    assert 2 < n < min(model.n_users, model.n_items) and model.n_sampled == n
    correlated = noting(monkeypatch, model, "correlation")
    model.calculate_loss(batch)
    shapes = [nodes.shape for (nodes,) in correlated]
    assert shapes == [(2 * n, model.user_embedding.embedding_dim)]  # users, and as many items


@pytest.mark.parametrize("name", ["DGCF", "DisenGCN"])
def test_chunks_must_fit(build, name):
    with pytest.raises(ValueError, match=r"n_factors must .* embedding_size 16, got 3"):
        build(name, n_factors=3, embedding_size=16)


# -- IMP-GCN ------------------------------------------------------------------------------------


def masked(a, groups, n_users):
    """Returns per group the dense A with its users and all items."""
    for group in range(int(groups.max()) + 1):
        member = torch.cat((groups == group, torch.ones(len(a) - n_users, dtype=torch.bool)))
        yield a * member.unsqueeze(0) * member.unsqueeze(1)


def test_the_grouped_graph_holds_every_groups(graph):
    groups = torch.tensor([0, 1, 0, 1])
    whole = grouped(graph, groups, 2).to_dense()
    assert torch.equal(whole, whole.T)
    a, u, i = graph.normalized().to_dense(), 4, 5
    for g, expected in enumerate(masked(a, groups, u)):
        columns = whole[:, u + g * i : u + (g + 1) * i]
        assert torch.equal(columns[:u], expected[:u, u:])
        assert not columns[u:].any()


@pytest.mark.parametrize("n_groups", [1, 3])
def test_impgcn_group_by_group(build, n_groups):
    model, _ = build("IMP-GCN", n_layers=4, n_groups=n_groups, init_std=1.0, group_dropout=0.0)
    x, a = ego(model), model.graph.normalized().to_dense()
    hidden = (a @ x + x)[: model.n_users] @ model.hidden_weight.T + model.hidden_bias
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    groups = (hidden @ model.choice_weight.T + model.choice_bias).argmax(1)
    assert len(groups.unique()) == n_groups
    layers = [x, a @ x] + [torch.zeros_like(x) for _ in range(3)]
    for part in masked(a, groups, model.n_users):
        nodes = x
        for k in range(2, 5):
            message = part @ nodes
            nodes = nodes + message
            layers[k] += a @ message
    close(vectors(model), sum(layers) / 5)


def test_impgcn_with_one_group_is_a_polynomial_of_the_graph(build):
    model, _ = build("IMP-GCN", n_layers=3, n_groups=1)
    x, a = ego(model), model.graph.normalized().to_dense()
    square = a @ (a @ x)
    close(vectors(model), (x + a @ x + square + square + a @ square) / 4)


def test_impgcns_groups_are_random_in_training_alone(build):
    model, _ = build("IMP-GCN", n_layers=2, init_std=1.0)
    assert not torch.equal(vectors(model), vectors(model))
    model.eval()
    assert torch.equal(vectors(model), vectors(model))


# -- DeosGCF ------------------------------------------------------------------------------------


def test_the_deoscillated_graph_by_dense_matrices(graph):
    plain = (graph.normalized().to_dense() > 0).double()
    both = plain @ plain
    scale = both.sum(1).clamp_min(1).rsqrt()
    far = scale.unsqueeze(1) * both * scale
    interactions = sp.csr_matrix(plain[:4, 4:].numpy().astype(np.float32))
    for least in (0.0, 0.3):
        kept = far.where((far > least) & (far < 1), 0).float()
        assert (kept > 0).any() and ((kept > 0).sum() < (far > 0).sum() or not least)
        found = deoscillated(interactions, least, block=2)
        close(torch.from_numpy(found.toarray()), graph.normalized().to_dense() + kept)


def test_the_band_leaves_out_a_pair_of_hermits():
    found = deoscillated(sp.csr_matrix(np.eye(2, dtype=np.float32)), 0.0).toarray()
    assert np.array_equal(found, np.kron([[0, 1], [1, 0]], np.eye(2)))  # P's diagonal is 1


def test_deosgcf_by_dense_layers(build):
    model, _ = build("DeosGCF", n_layers=2, edge_dropout=0.0)
    matrix = model.adjacency().to_dense()
    assert torch.equal(matrix, matrix.T)
    layers = [ego(model)]
    for weight in model.locality.detach():
        layers.append(matrix @ (layers[-1] / (1 + (-weight).exp())))
    close(vectors(model), sum(layers) / 3)


def test_deosgcfs_dropout_keeps_the_symmetry_and_the_mean(build):
    model, _ = build("DeosGCF", edge_dropout=0.4)
    draw = model.adjacency().to_dense()
    model.eval()
    whole = model.adjacency().to_dense()
    assert torch.equal(draw, draw.T)
    kept = draw > 0
    assert 0.5 < kept[whole > 0].float().mean() < 0.7
    close(draw[kept], whole[kept] / 0.6)


# -- DisenGCN -----------------------------------------------------------------------------------


def test_disengcn_node_by_node(build):
    changes = {"n_layers": 2, "n_factors": 4, "n_iterations": 3, "tau": 0.5, "dropout_rate": 0.0}
    model, _ = build("DisenGCN", init_std=1.0, **changes)
    x, graph = ego(model), model.graph
    for layer in model.layers:
        z = unit((x @ layer.weight.T + layer.bias).clamp_min(0).view(len(x), 4, -1))
        after = torch.empty_like(z)
        for u in range(len(z)):
            ids = graph.col[graph.crow[u] : graph.crow[u + 1]]
            near, share = z[ids], (graph.degree[u] * graph.degree[ids]).rsqrt()
            center = torch.zeros_like(z[u])  # whose products are 0: the first round is uniform
            for _ in range(3):
                chosen = ((near * unit(center)).sum(2) / 0.5).softmax(1)  # (n, K)
                center = z[u] + ((share.unsqueeze(1) * chosen).unsqueeze(2) * near).sum(0)
            after[u] = center
        x = after.flatten(1).clamp_min(0)
    close(vectors(model), x)


def test_disengcn_drops_out_after_every_layer_in_training(build):
    model, _ = build("DisenGCN", n_layers=2, n_factors=4, init_std=1.0, dropout_rate=0.4)
    torch.manual_seed(3)
    found = vectors(model)
    torch.manual_seed(3)
    nodes = ego(model)
    for layer in model.layers:
        chunks = split_chunks(layer(nodes).clamp_min(0), 4)
        nodes = dropout(join_chunks(model.route(unit(chunks))).clamp_min(0), 0.4)
    close(found, nodes)
    model.eval()
    ranked = vectors(model)
    model.train().dropout_rate = 0.0
    assert torch.equal(ranked, vectors(model)) and not torch.equal(ranked, found)


# -- GAT ----------------------------------------------------------------------------------------


def test_gat_by_dense_attention(build):
    model, _ = build("GAT", n_layers=2, n_heads=2, init_std=1.0)
    edges = model.graph.normalized().to_dense() > 0
    hidden, layers = ego(model), [ego(model)]
    for i, layer in enumerate(model.layers):
        hidden = torch.where(hidden > 0, hidden, hidden.exp() - 1) if i else hidden
        heads = []
        for head in range(2):
            w = layer.project.weight.view(2, -1, hidden.shape[1])[head]
            values = hidden @ w.T
            logits = (values @ layer.reader[head]).unsqueeze(1) + values @ layer.read[head]
            logits = torch.where(logits > 0, logits, 0.2 * logits)
            weights = logits.where(edges, -torch.inf).softmax(1).nan_to_num()  # padding has none
            heads.append(weights @ values)
        hidden = sum(heads) / 2 + layer.bias
        layers.append(hidden)
    close(vectors(model), sum(layers) / 3)


def test_gats_layer_is_pygs(build):
    geometric = pytest.importorskip("torch_geometric.nn", reason="comes with [test]")
    model, _ = build("GAT", n_layers=1, n_heads=2, init_std=1.0)
    nodes, (ours,), graph = ego(model).requires_grad_(), model.layers, model.graph
    size = nodes.shape[1]
    theirs = geometric.GATConv(size, size, heads=2, concat=False, add_self_loops=False)
    theirs.load_state_dict(
        {
            "lin.weight": ours.project.weight,
            "att_dst": ours.reader.unsqueeze(0),
            "att_src": ours.read.unsqueeze(0),
            "bias": torch.randn(size),
        }
    )
    ours.bias.data.copy_(theirs.bias.data)
    found, expected = ours(graph, nodes), theirs(nodes, torch.stack((graph.col, graph.row)))
    close(found, expected)
    slope = torch.randn_like(found)
    close(*(torch.autograd.grad(out, nodes, slope)[0] for out in (found, expected)))


# -- NIA-GCN ------------------------------------------------------------------------------------


def test_niagcns_pairs_by_loop(build):
    model, _ = build("NIA-GCN")
    x, graph = ego(model), model.graph
    expected = torch.zeros_like(x)
    for u in range(len(x)):
        near = graph.col[graph.crow[u] : graph.crow[u + 1]].tolist()
        pairs = [x[i] * x[j] for n, i in enumerate(near) for j in near[:n]]
        if pairs:
            expected[u] = sum(pairs) / len(pairs)
    close(model.distinct_pairs(graph.neighbour_means(x), x), expected)


def test_niagcns_depths_and_score(build):
    model, _ = build("NIA-GCN", n_layers=2, init_std=1.0)
    with torch.no_grad():
        model.depth_weight.normal_()
        model.mean_weight.normal_(std=0.3)
    x, n = ego(model), model.n_users
    p = (model.graph.normalized().to_dense() > 0).float()
    p = p / p.sum(1, keepdim=True).clamp_min(1)
    means = [p @ x, p @ (p @ x)]
    pairs = [model.distinct_pairs(means[0], x), means[1] * means[1]]
    depths = [x]
    for k in range(2):
        halves = []
        for side, rows in enumerate((slice(0, n), slice(n, None))):
            linear = means[k][rows] @ model.mean_weight[side, k]
            halves.append((linear + pairs[k][rows] @ model.pair_weight[side, k]).tanh())
        depths.append(torch.cat(halves))
    users, items = model.user_item_embeddings()
    for u, i in ((3, 7), (80, 1)):
        score = sum(
            model.depth_weight[j, k] * depths[j][u] @ depths[k][n + i]
            for j in range(3)
            for k in range(3)
        )
        assert (users[u] @ items[i]).item() == pytest.approx(score.item(), rel=1e-4)
