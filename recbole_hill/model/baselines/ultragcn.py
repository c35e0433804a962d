"""UltraGCN: the limit of infinitely many graph layers, expressed as a loss without layers.

Reference:
    Kelong Mao et al. "UltraGCN: Ultra Simplification of Graph Convolutional Networks for
    Recommendation." in CIKM 2021.
"""

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hill.model.bases.factorization import MatrixFactorization, SampledScores
from recbole_hill.model.bases.fit_once import train_matrix


class UltraGCN(MatrixFactorization):
    """Matrix factorisation with L_C + L_O + item_weight L_I + norm_weight / 2 |all weights|^2.

    - L_C + L_O is the cross-entropy of the positives with weights w1 + w2 beta_ui, plus
      ``negative_weight`` times the mean over the negatives with weights w3 + w4 beta_uj, where
      beta_ui = sqrt(d_u + 1) / (d_u sqrt(d_i + 1)) (Eq. 9-12).
    - L_I takes each positive's ``n_neighbours`` most similar items as positives with weight omega,
      the same expression on the item-item graph R^T R (Eq. 15, 16). An item is among its own
      neighbours.

    All terms are sums over the batch, as in the authors' code.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s without
    ``reg_weight``, ``pair_weights`` ([w1, w2, w3, w4]), ``negative_weight``, ``item_weight``,
    ``norm_weight``, ``n_neighbours``.
    """

    sums_over_batch = True
    has_l2 = False

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.pair_weights = config["pair_weights"]
        self.negative_weight = config["negative_weight"]
        self.item_weight, self.norm_weight = config["item_weight"], config["norm_weight"]
        matrix = train_matrix(dataset)
        of_user, of_item = limit_weights(*(np.asarray(matrix.sum(a)).ravel() for a in (1, 0)))
        neighbours, omega = item_neighbours(matrix, config["n_neighbours"])
        for name, array in {
            "of_user": of_user,
            "of_item": of_item,
            "neighbours": neighbours,
            "omega": omega,
        }.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The sum of the four terms."""
        user, positive, negative = self.draw(interaction)
        query, (w1, w2, w3, w4) = users[user], self.pair_weights
        beta = self.of_user[user] * self.of_item[positive]
        loss = -((w1 + w2 * beta) * F.logsigmoid((query * items[positive]).sum(1))).sum()
        beta = self.of_user[user].unsqueeze(1) * self.of_item[negative]
        wrong = (w3 + w4 * beta) * F.softplus(SampledScores.apply(query, items, negative))
        loss = loss + self.negative_weight * wrong.mean(1).sum()
        similar = F.logsigmoid(SampledScores.apply(query, items, self.neighbours[positive]))
        loss = loss - self.item_weight * (self.omega[positive] * similar).sum()
        return loss + self.norm_weight / 2 * (users.square().sum() + items.square().sum())


def limit_weights(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the two factors of beta: sqrt(d + 1) / d of the rows, 1 / sqrt(d + 1) of the columns.

    Args:
        rows: Sums of the matrix's rows, shape (R,); a row without entries gets 0.
        columns: Sums of the matrix's columns, shape (C,).
    """
    left = np.sqrt(rows + 1) / np.maximum(rows, 1) * (rows > 0)
    return left.astype(np.float32), (1 / np.sqrt(columns + 1)).astype(np.float32)


def item_neighbours(
    matrix: sp.csr_matrix, n: int, block: int = 2048
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ``n`` most similar items of each item by omega, the item included, and omega.

    Args:
        matrix: Binary train matrix, shape (U, I).
        n: Neighbours per item; an item with fewer neighbours is padded with item 0 of weight 0.
        block: Items at a time.

    Returns:
        Ids (I, n), int64, and weights (I, n), float32.
    """
    by_item = matrix.T.tocsr()
    # Row sums of R^T R without the product: for each item the sum of its users' activities.
    sums = np.asarray(by_item @ (matrix @ np.ones(matrix.shape[1]))).ravel()
    left, right = limit_weights(sums, sums)
    ids = np.zeros((matrix.shape[1], n), dtype=np.int64)
    weights = np.zeros((matrix.shape[1], n), dtype=np.float32)
    for start in range(0, matrix.shape[1], block):
        similar = (by_item[start : start + block] @ matrix).tocoo()
        omega = similar.data * left[start + similar.row] * right[similar.col]
        order = np.lexsort((similar.col, -omega, similar.row))
        row = similar.row[order]
        first = np.searchsorted(row, np.arange(block))
        rank = np.arange(len(row)) - first[row]
        kept = rank < n
        place = start + row[kept], rank[kept]
        ids[place], weights[place] = similar.col[order][kept], omega[order][kept]
    return ids, weights
