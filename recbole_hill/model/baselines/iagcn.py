"""IA-GCN: graph convolution in which the pair's other node guides the weights of neighbours.

Reference:
    Yinan Zhang et al. "IA-GCN: Interactive Graph Convolutional Network for Recommendation."
    arXiv 2204.03827, 2022.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.bases.attention import segment_softmax, segment_sums
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.pair_products import pair_products
from recbole_hill.model.bases.pair_score import PairScoreModel


class IAGCN(PairScoreModel):
    """Scores <z_u|i, z_i|u>: the user's vector given the item, and the item's given the user.

    With guide g, a node takes the mean of its neighbours c with the weights softmax_c(t <e_c,
    e_g>), where e are layer-0 vectors. P_g stands for this operation. A root r has the vector

        z_r|g = a_0 e_r + sqrt(degree_r) sum_l a_l (P_g^l E)_r,   a = softmax(layer weights).

    In training the guide is left out as a neighbour, because a positive would otherwise see itself.
    In ranking the guide is not left out. Both follow the authors' code; a train pair's score shows
    the difference. In training, a node whose only neighbour is the guide reads 0; the authors'
    softmax gives this neighbour weight 1.

    Vectors depend on the pair, so no vectors can be kept from pair to pair:

    - A training pair unrolls two trees, and each node occurs once in a tree. With three layers one
      tree of Gowalla contains about a tenth of the graph, which determines the memory of a batch.
    - Full ranking uses the fact that exp(t <e_c, e_g>) does not depend on the node that reads c:
      P_g X is A (w_g * X) divided by A w_g, which are products with the plain 0/1 matrix for many
      guides at a time. Every user guides one propagation. Every item guides one for *each block of
      users*. A block has as many users as ``ranking_memory_mb`` allows, with B x I x D item
      vectors. A propagation costs L x E x D.

    Settings: those of :class:`~recbole_hill.model.bases.pair_score.PairScoreModel`, ``n_layers``,
    ``softmax_rate`` (t), ``ranking_memory_mb``.
    """

    #: Largest number of floats in one product of full ranking.
    block_floats: ClassVar[int] = 1 << 24

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers, self.rate = config["n_layers"], config["softmax_rate"]
        self.ranking_floats = config["ranking_memory_mb"] * 2**20 // 4
        self.graph = InteractionGraph(train_matrix(dataset))
        self.user_embedding = nn.Embedding(self.n_users, config["embedding_size"])
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"])
        for table in (self.user_embedding, self.item_embedding):
            nn.init.xavier_uniform_(table.weight)
        self.layer_weights = nn.Parameter(torch.zeros(self.n_layers + 1))

    def pair_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Unrolls the pairs' trees: the user's tree guided by the item, and the reverse."""
        items = items + self.n_users
        roots, guides = torch.cat((users, items)), torch.cat((items, users))
        of_users, of_items = self._tree_vectors(roots, guides).chunk(2)
        return (of_users * of_items).sum(1)

    def _nodes(self) -> Tensor:
        """Returns the layer-0 vectors in the graph's numbering, shape (U + I, D)."""
        return torch.cat((self.user_embedding.weight, self.item_embedding.weight))

    def _tree_vectors(self, roots: Tensor, guides: Tensor) -> Tensor:
        """Returns the vector of each root under its guide.

        Args:
            roots: Nodes, shape (P,).
            guides: Nodes of the other side, shape (P,).

        Returns:
            Shape (P, D).
        """
        embedding, mix = self._nodes(), self.layer_weights.softmax(0)
        guide = embedding[guides]
        # A level holds, for every tree, the distinct nodes at one distance from the root.
        tree, node = torch.arange(len(roots), device=roots.device), roots
        levels, links = [(tree, node)], []
        for depth in range(self.n_layers):
            crow, row, child = self.graph.rows(node)
            keys, place = (tree[row] * len(self.graph) + child).unique(return_inverse=True)
            tree, node = keys // len(self.graph), keys % len(self.graph)
            levels.append((tree, node))
            # The last level is the largest. It reads its vectors straight from the table.
            reads = child if depth == self.n_layers - 1 else place
            links.append((crow, row, place, reads))
        state = mix[-1] * embedding
        for depth in reversed(range(self.n_layers)):
            tree, node = levels[depth + 1]
            logits = self.rate * pair_products(embedding, node, guide, tree)
            if self.training:
                logits = logits.masked_fill(node == guides[tree], -torch.inf)
            crow, row, place, reads = links[depth]
            weights = segment_softmax(logits[place], row, len(crow) - 1)
            state = segment_sums(weights, state, reads, crow)
            if depth:
                state = state + mix[depth] * embedding[levels[depth][1]]
        return mix[0] * embedding[roots] + self._root_scale(roots) * state

    def _root_scale(self, roots: Tensor) -> Tensor:
        """Returns sqrt(degree), shape (P, 1)."""
        return self.graph.degree[roots].sqrt().unsqueeze(1)

    # -- full ranking -------------------------------------------------------------------------

    def blocks(self, users: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yields as many users at a time as memory allows, with the vectors of every item."""
        everything = torch.arange(self.n_items, device=users.device)
        step = max(1, self.ranking_floats // self.item_embedding.weight.numel())
        for start in range(0, len(users), step):
            yield slice(start, start + step), everything

    def block_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Computes the items' vectors given every user, then the users' given a few items."""
        items = items + self.n_users
        widest = max(self.n_users, self.n_items) * (self.item_embedding.embedding_dim + 1)
        step = max(1, self.block_floats // widest)
        size = self.item_embedding.embedding_dim
        given_users = torch.empty(len(users), len(items), size, device=users.device)
        for start in range(0, len(users), step):
            some = slice(start, start + step)
            given_users[some] = self._all_vectors(items, users[some]).transpose(0, 1)
        scores = torch.empty(len(users), len(items), device=users.device)
        for start in range(0, len(items), step):
            some = slice(start, start + step)
            given_items = self._all_vectors(users, items[some])
            scores[:, some] = (given_items * given_users[:, some]).sum(2)
        return scores

    def _all_vectors(self, roots: Tensor, guides: Tensor) -> Tensor:
        """Returns the vector of every root under every guide.

        Args:
            roots: Nodes of one side, shape (n,).
            guides: Nodes of the other side, shape (G,).

        Returns:
            Shape (n, G, D).
        """
        embedding, mix = self._nodes(), self.layer_weights.softmax(0)
        logits = self.rate * embedding @ embedding[guides].T  # (U + I, G)
        # Weights below exp(-80), which float32 can represent, are set to it: no row sums to 0.
        weights = (logits - logits.amax(0)).clamp_min(-80).exp()
        sides = [slice(0, self.n_users), slice(self.n_users, len(self.graph))]
        if roots[0] >= self.n_users:
            sides.reverse()
        state = mix[-1] * embedding[sides[self.n_layers % 2]].unsqueeze(1)  # (., 1, D)
        for depth in reversed(range(self.n_layers)):
            side, children = sides[depth % 2], sides[(depth + 1) % 2]
            rows = self._plain(roots if depth == 0 else side, children)
            weight = weights[children]
            sums = rows @ (weight.unsqueeze(2) * state).flatten(1)
            sums = sums.view(rows.shape[0], len(guides), -1)
            state = sums / (rows @ weight).clamp_min(1e-38).unsqueeze(2)
            if depth:
                state = state + mix[depth] * embedding[side].unsqueeze(1)
        scale = self._root_scale(roots).unsqueeze(2)
        return mix[0] * embedding[roots].unsqueeze(1) + scale * state

    def _plain(self, nodes: Tensor | slice, children: slice) -> Tensor:
        """Returns 0/1 adjacency rows of one side's nodes, sparse CSR, columns the other side."""
        if isinstance(nodes, slice):
            nodes = torch.arange(nodes.start, nodes.stop, device=self.graph.crow.device)
        crow, _, column = self.graph.rows(nodes)
        return torch.sparse_csr_tensor(
            crow,
            column - children.start,
            torch.ones(len(column), device=column.device),
            size=(len(nodes), children.stop - children.start),
            check_invariants=False,
        )

    def tables(self) -> tuple[list[nn.Embedding], list[nn.Embedding]]:
        """The tables of layer 0."""
        return [self.user_embedding], [self.item_embedding]
