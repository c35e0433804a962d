"""RecBole's graph models with the method replaced that newer SciPy breaks, and LINE.

LightGCN, NGCF, GCMC, NCL and SpectralCF call ``dok_matrix._update``, which SciPy 1.13 removed. Each
class here is RecBole's, with a new version of the method that builds its matrix. The values are
those that RecBole computed with older SciPy; this includes the 1e-7 that RecBole adds to the
degrees. LightGCN, a row of HILL's Table 3, also draws its pairs as its authors do. LINE can be
resumed.
"""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from recbole.model.general_recommender import gcmc, lightgcn, line, ncl, ngcf, spectralcf
from torch import Tensor

from recbole_hill.data.graph import propagate, propagate_to
from recbole_hill.model.bases.factorization import DeviceSampling


class _SymmetricNormalisation:
    """Replaces ``get_norm_adj_mat``: D^-1/2 A D^-1/2 in COO form."""

    def get_norm_adj_mat(self) -> Tensor:
        """Returns the normalised adjacency, sparse COO, shape (U + I, U + I)."""
        adjacency, degree = _adjacency(self.interaction_matrix)
        scale = sp.diags(np.power(degree, -0.5))
        return _to_torch(scale @ adjacency @ scale)


class LightGCN(DeviceSampling, _SymmetricNormalisation, lightgcn.LightGCN):
    """RecBole's LightGCN on today's SciPy; its products use the CSR form, which is faster.

    RecBole walks through the interactions. The authors draw users uniformly, and then one item of
    each user (``positive_order: user``). This gives every user the same weight, as the metrics do.
    Positives and negatives are drawn on the device.

    Settings: RecBole's and those of ``DeviceSampling``; ``n_negatives`` must be 1.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        if self.n_negatives != 1:
            raise ValueError(f"n_negatives must be 1 for LightGCN, got {self.n_negatives}")

    def calculate_loss(self, interaction) -> Tensor:
        """RecBole's loss on this step's draw; computes only the rows of the draw."""
        self.restore_user_e = self.restore_item_e = None
        user, positive, negative = self.draw(interaction)
        nodes = torch.cat((user, positive + self.n_users, negative[:, 0] + self.n_users))
        ego = self.get_ego_embeddings()
        rows, own = propagate_to(nodes, self.norm_adj_matrix, ego, self.n_layers, with_ego=True)
        return self._loss(rows.chunk(3), own.chunk(3))

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The same loss, given the vectors of all users (U, D) and items (I, D)."""
        user, positive, negative = self.draw(interaction)
        chosen = positive, negative[:, 0]
        rows = users[user], *(items[ids] for ids in chosen)
        return self._loss(rows, (self.user_embedding(user), *map(self.item_embedding, chosen)))

    def _loss(self, rows, own_rows) -> Tensor:
        """The loss of triples, given their final and layer-0 vectors, three of (B, D) each."""
        users, liked, others = rows
        loss = self.mf_loss((users * liked).sum(1), (users * others).sum(1))
        norms = self.reg_loss(*own_rows, require_pow=self.require_pow)
        return loss + self.reg_weight * norms

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the result of ``forward``; HILL asks for it by this name."""
        return self.forward()

    def get_norm_adj_mat(self) -> Tensor:
        """Returns the normalised adjacency, sparse CSR, shape (U + I, U + I)."""
        return super().get_norm_adj_mat().to_sparse_csr()

    def forward(self) -> tuple[Tensor, Tensor]:
        """Returns the mean of all layers, users (U, D) and items (I, D)."""
        ego = self.get_ego_embeddings()
        nodes = propagate(self.norm_adj_matrix, ego, self.n_layers, with_ego=True)
        return nodes.split((self.n_users, self.n_items))


class NGCF(_SymmetricNormalisation, ngcf.NGCF):
    """RecBole's NGCF on today's SciPy."""


class GCMC(_SymmetricNormalisation, gcmc.GCMC):
    """RecBole's GCMC on today's SciPy (one-hot features and two classes; not NGCF's GC-MC)."""


class NCL(_SymmetricNormalisation, ncl.NCL):
    """RecBole's NCL on today's SciPy."""


class LINE(line.LINE):
    """RecBole's LINE; a resumed run continues with the negative users where the killed run stopped.

    The loss is -ln sigmoid(<u, i>) - ln sigmoid(-<u, j>), and the same with context vectors in the
    place of the second node's. A step draws, with equal chance, a negative item for each user or a
    negative user for each item. The code and the settings behind the row of HILL's Table 3 are
    unpublished. The authors' own code draws edges, and five negatives by degree^.75, and trains the
    two orders apart.

    The negative users are taken from a shuffled list, which is stored beside the weights. HILL does
    not store the list of a backbone: there the list is shuffled anew.
    """

    other_parameter_name: ClassVar[list[str]] = ["negative_users"]

    @property
    def negative_users(self) -> Tensor:
        """The shuffled users and the position among them, shape (U,)."""
        return torch.from_numpy(np.append(self.random_list, self.random_pr))

    @negative_users.setter
    def negative_users(self, value: Tensor | None) -> None:
        if value is not None:  # None: a run made before the list was stored
            *users, self.random_pr = value.tolist()
            self.random_list = np.array(users)


class SpectralCF(spectralcf.SpectralCF):
    """RecBole's SpectralCF on today's SciPy."""

    def get_laplacian_matrix(self) -> Tensor:
        """Returns I - D^-1 A, sparse COO, shape (U + I, U + I)."""
        adjacency, degree = _adjacency(self.interaction_matrix)
        walk = sp.diags(np.power(degree, -1.0)) @ adjacency
        return _to_torch(sp.identity(adjacency.shape[0], dtype=np.float32) - walk)


def _adjacency(interactions: sp.spmatrix) -> tuple[sp.csr_matrix, np.ndarray]:
    """Returns the binary bipartite adjacency and its degrees, increased by RecBole's 1e-7."""
    matrix = sp.csr_matrix(interactions, dtype=np.float32)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    adjacency = sp.bmat([[None, matrix], [matrix.T, None]], format="csr", dtype=np.float32)
    return adjacency, np.diff(adjacency.indptr) + 1e-7


def _to_torch(matrix: sp.spmatrix) -> Tensor:
    coo = sp.coo_matrix(matrix)
    indices = torch.from_numpy(np.stack((coo.row, coo.col)).astype(np.int64))
    values = torch.from_numpy(coo.data.astype(np.float32))
    return torch.sparse_coo_tensor(indices, values, coo.shape).coalesce()
