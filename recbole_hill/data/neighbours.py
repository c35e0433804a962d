"""The users most similar to a user, and the items most similar to an item, in the train matrix."""

import numpy as np
import scipy.sparse as sp


def nearest_neighbours(
    matrix: sp.spmatrix, k: int, *, block_entries: int = 4_000_000
) -> tuple[np.ndarray, np.ndarray]:
    """Finds, for each row of a binary matrix, the k rows with the largest cosine to it.

    The similarity matrix is never stored whole. Blocks of rows are multiplied as sparse matrices,
    and each block is reduced to its k largest entries per row by k segment maxima.

    Args:
        matrix: Binary matrix, shape (N, M); rows are users (or items), repeated entries count once.
        k: Neighbours per row, at least 1.
        block_entries: Bound on the similarity entries of one block, which bounds the memory.

    Returns:
        ids: Shape (N, k), int64, most similar first, ties by smallest id. If fewer than k rows
            overlap with a row, the rest is filled with the row's own id.
        similarities: Shape (N, k), float32; 0 where filled.

    Raises:
        ValueError: If k is less than 1.
    """
    if k < 1:
        raise ValueError(f"n_neighbours must be at least 1, got {k}")
    rows = sp.csr_matrix(matrix, dtype=np.float32, copy=True)
    rows.sum_duplicates()
    rows.data = 1 / np.sqrt(np.repeat(np.diff(rows.indptr), np.diff(rows.indptr))).astype(
        np.float32
    )
    columns = rows.T.tocsr()
    n = rows.shape[0]
    ids = np.repeat(np.arange(n)[:, None], k, axis=1)
    similarities = np.zeros((n, k), dtype=np.float32)
    # A row of the product has at most as many entries as its columns have together.
    work = np.add.reduceat(
        np.append(np.diff(columns.indptr)[rows.indices], 0), rows.indptr[:-1]
    ) * (np.diff(rows.indptr) > 0)
    ends = np.flatnonzero(np.diff(np.cumsum(work) // block_entries)) + 1
    for start, end in zip(np.r_[0, ends], np.r_[ends, n], strict=True):
        product = rows[start:end] @ columns
        _top_k_of_rows(product, start, ids[start:end], similarities[start:end])
    return ids, similarities


def _top_k_of_rows(
    product: sp.csr_matrix, offset: int, ids: np.ndarray, values: np.ndarray
) -> None:
    """Writes each row's k largest entries off the diagonal into ``ids`` and ``values``."""
    lengths = np.diff(product.indptr)
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return
    starts = product.indptr[filled]
    lengths = lengths[filled]
    data, columns = product.data, product.indices
    data[columns == np.repeat(filled + offset, lengths)] = 0
    for rank in range(ids.shape[1]):
        largest = np.maximum.reduceat(data, starts)
        is_largest = data == np.repeat(largest, lengths)
        first = np.minimum.reduceat(np.where(is_largest, columns, np.iinfo(np.int32).max), starts)
        remaining = largest > 0
        if not remaining.any():
            return
        ids[filled[remaining], rank] = first[remaining]
        values[filled[remaining], rank] = largest[remaining]
        data[is_largest & (columns == np.repeat(first, lengths))] = 0
