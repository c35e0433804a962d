"""DeosGCF: LightGCN with cross-hop edges and learnt locality weights against oversmoothing.

Reference:
    Zhiwei Liu et al. "Deoscillated Adaptive Graph Collaborative Filtering." in TAGML 2022
    (arXiv 2011.02100).
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from recbole_hill.data.graph import product
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.graph_model import GraphModel, last_to, rows_of


class DeosGCF(GraphModel):
    """E_{k+1} = (A + P)(sigmoid(w_k) * E_k); the vectors are the mean of all layers.

    w_k is one scalar per node. P joins nodes that are two hops apart, and each node with itself. It
    is A A normalised like A, by its own row sums, without entries up to ``cross_hop_least`` and
    without entries of 1 or more.

    The authors call the model DGCF, a name that Wang et al. use for another model. The authors
    publish settings for MovieLens alone, and their Gowalla split is another. Their dropout drops
    the two directions of an edge separately. Here both are dropped together, so that the matrix
    stays symmetric.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s, ``n_layers``,
    ``cross_hop_least``, ``edge_dropout``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers = config["n_layers"]
        self.edge_dropout = config["edge_dropout"]
        matrix = deoscillated(train_matrix(dataset), config["cross_hop_least"])
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        # Entry e of the sorted transpose is entry mirror[e] of the matrix.
        mirror = np.lexsort((rows, matrix.indices))
        for name, array in {
            "crow": matrix.indptr,
            "col": matrix.indices,
            "values": matrix.data,
            "mirror": mirror,
            "upper": matrix.indices > rows,
        }.items():
            kept = array if array.dtype in (np.float32, np.bool_) else array.astype(np.int64)
            self.register_buffer(f"edge_{name}", torch.from_numpy(kept), persistent=False)
        self.locality = nn.Parameter(torch.zeros(self.n_layers, len(self.graph), 1))
        nn.init.xavier_uniform_(self.locality.view(self.n_layers, -1))

    def adjacency(self) -> Tensor:
        """Returns A + P; in training with symmetric entries dropped and the others scaled up."""
        values = self.edge_values
        if self.training and self.edge_dropout:
            kept = torch.rand_like(values) >= self.edge_dropout
            kept = torch.where(self.edge_upper, kept, kept[self.edge_mirror])
            values = values * kept / (1 - self.edge_dropout)
        size = (len(self.graph), len(self.graph))
        return torch.sparse_csr_tensor(
            self.edge_crow, self.edge_col, values, size=size, check_invariants=False
        )

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean of the filtered layers, and the table rows."""
        matrix, layers = self.adjacency(), [ego]
        for weight, rows in zip(self.locality, last_to(nodes, self.n_layers), strict=True):
            layers.append(product(matrix, weight.sigmoid() * layers[-1], rows))
        own, *others = rows_of(layers, nodes)
        return sum(others, own) / (self.n_layers + 1), own


def deoscillated(interactions: sp.csr_matrix, least: float, block: int = 4096) -> sp.csr_matrix:
    """Returns A + P of a binary train matrix (U, I): sorted CSR, float32, (U + I, U + I)."""
    adjacency = sp.bmat([[None, interactions], [interactions.T, None]], format="csr")
    near = _normalized(adjacency, np.diff(adjacency.indptr))
    # Row sums of A^2 without the product.
    degree = adjacency @ (adjacency @ np.ones(adjacency.shape[0]))
    scale = _inverse_root(degree)
    blocks = []
    for start in range(0, adjacency.shape[0], block):
        far = (adjacency[start : start + block] @ adjacency).tocoo()
        # Multiply the two scales first: otherwise an entry and its mirror image could be rounded
        # to different sides of ``least``.
        far.data = far.data * (scale[start + far.row] * scale[far.col])
        kept = (far.data > least) & (far.data < 1)
        entries = far.data[kept], (far.row[kept], far.col[kept])
        blocks.append(sp.csr_matrix(entries, shape=far.shape))
    matrix = (near + sp.vstack(blocks)).tocsr().astype(np.float32)
    matrix.sort_indices()
    return matrix


def _normalized(matrix: sp.csr_matrix, degree: np.ndarray) -> sp.csr_matrix:
    scale = sp.diags(_inverse_root(degree))
    return (scale @ matrix @ scale).tocsr()


def _inverse_root(degree: np.ndarray) -> np.ndarray:
    return np.where(degree > 0, np.maximum(degree, 1) ** -0.5, 0.0)
