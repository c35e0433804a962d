"""The most similar users of a user, and items of an item, by their rows in the train matrix."""

import numpy as np
import scipy.sparse as sp


def nearest_neighbours(
    matrix: sp.spmatrix, k: int, *, block_entries: int = 4_000_000
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k rows most similar to each row of a binary matrix by cosine.

    The similarity matrix is never kept: blocks of rows are multiplied as sparse matrices and
    reduced to their k largest entries by k segment maxima.

    Args:
        matrix: Binary matrix, shape (N, M); rows are users (or items), repeated entries count once.
        k: Neighbours per row, at least 1.
        block_entries: Bound on the similarity entries of one block, which bounds the memory.

    Returns:
        ids: Shape (N, k), int64, most similar first, ties by smallest id; a row with fewer than k
            overlapping rows is filled with its own id.
        similarities: Shape (N, k), float32, 0 where filled.

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
        found = largest > 0
        if not found.any():
            return
        ids[filled[found], rank] = first[found]
        values[filled[found], rank] = largest[found]
        data[is_largest & (columns == np.repeat(first, lengths))] = 0
