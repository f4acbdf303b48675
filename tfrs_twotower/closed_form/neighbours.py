"""Neighbours of candidates by who chose them: item kNN."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_BLOCK = 2_000
_PAIRS_AT_ONCE = 1 << 23
"""Pairs of choices of one query that a block may count; the size of its product is at most that."""


def cosine_neighbours(
    matrix: sparse.csr_matrix,
    num_neighbours: int,
    *,
    shrink: float = 0.0,
    before: sparse.csr_matrix | None = None,
    rows: NDArray[np.integer] | None = None,
) -> sparse.csr_matrix:
    """The nearest candidates of each candidate (Sarwar et al. 2001; Deshpande & Karypis 2004).

    similarity(i, j) = |queries with both| / (sqrt(|queries with i| |queries with j|) + shrink).

    Args:
        matrix: `[num_queries, num_candidates]` of 0 and 1.
        num_neighbours: neighbours kept for each candidate (ties: lowest row).
        shrink: pulls similarities of rare candidates to 0.
        before: `[num_rows, num_candidates]` weights, at least 0, for a matrix whose rows are single
            choices: of what was chosen before them. Then |queries with both| is the sum of the
            weights that i has where j is chosen, and the neighbours of i are what follows it.
        rows: ascending candidates whose neighbours are wanted, others get none; None wants all.

    Returns:
        `[num_candidates, num_candidates]` float32; row i holds the neighbours of i, never i,
        the nearest first.
    """
    num_candidates = matrix.shape[1]
    wanted = np.arange(num_candidates) if rows is None else np.asarray(rows)
    norms = np.sqrt(np.maximum(np.asarray(matrix.sum(axis=0)).ravel(), 1.0))
    columns = (matrix if before is None else before).tocsc()[:, wanted]
    parts: list[tuple[NDArray[np.float32], NDArray[np.integer]]] = []
    lengths = np.zeros(num_candidates, np.int64)
    for start, stop in _blocks(columns, np.diff(matrix.indptr)):
        block = (columns[:, start:stop].T @ matrix).tocsr()
        block.sort_indices()
        counts = np.diff(block.indptr)
        owners = np.repeat(wanted[start:stop], counts)
        scale = norms[owners] * norms[block.indices] + shrink
        block.data = np.where(owners == block.indices, 0.0, block.data / scale).astype(np.float32)
        # The bits of floats that are not negative sort like the floats; ties keep their order.
        falling = np.uint64(0xFFFFFFFF) - block.data.view(np.uint32).astype(np.uint64)
        order = np.argsort((owners.astype(np.uint64) << np.uint64(32)) | falling, kind="stable")
        rank = np.arange(len(owners)) - np.repeat(block.indptr[:-1], counts)
        kept = order[(rank < num_neighbours) & (block.data[order] > 0)]
        parts.append((block.data[kept], block.indices[kept]))
        lengths += np.bincount(owners[kept], minlength=num_candidates)
    if not parts:
        parts.append((np.zeros(0, np.float32), np.zeros(0, np.int64)))
    data, indices = (np.concatenate(one) for one in zip(*parts, strict=True))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return sparse.csr_matrix((data, indices, starts), shape=(num_candidates,) * 2)


def _blocks(columns: sparse.csc_matrix, choices: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Cuts columns into blocks of at most 2,000 that count few pairs, but one column at least.

    Args:
        columns: `[num_queries, n]`.
        choices: `[num_queries]` choices of each query.
    """
    per_entry = np.concatenate([[0], np.cumsum(choices[columns.indices], dtype=np.int64)])
    pairs = per_entry[columns.indptr]
    start, end = 0, columns.shape[1]
    while start < end:
        most = int(np.searchsorted(pairs, pairs[start] + _PAIRS_AT_ONCE, side="right")) - 1
        stop = min(max(most, start + 1), start + _BLOCK, end)
        yield start, stop
        start = stop


def nearest(neighbours: sparse.csr_matrix, num_neighbours: int) -> sparse.csr_matrix:
    """The first few neighbours of each row of `cosine_neighbours`."""
    lengths = np.diff(neighbours.indptr)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    rank = np.arange(len(owners)) - np.repeat(neighbours.indptr[:-1], lengths)
    kept = rank < num_neighbours
    starts = row_starts(owners[kept], len(lengths))
    return sparse.csr_matrix(
        (neighbours.data[kept], neighbours.indices[kept], starts), shape=neighbours.shape
    )


def row_starts(owners: NDArray[np.integer], num_rows: int) -> NDArray[np.int64]:
    """`[num_rows + 1]` where the entries of each row start, for ascending owners."""
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=num_rows))])
