"""Item-based neighbours with cosine similarity (Sarwar et al. 2001; Deshpande & Karypis 2004)."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_BLOCK = 2_000


def cosine_neighbours(
    matrix: sparse.csr_matrix, num_neighbours: int, *, shrink: float = 0.0
) -> sparse.csr_matrix:
    """The nearest candidates of each candidate.

    similarity(i, j) = |queries with both| / (sqrt(|queries with i| |queries with j|) + shrink).

    Args:
        matrix: `[num_queries, num_candidates]` of 0 and 1.
        num_neighbours: neighbours kept for each candidate (ties: lowest row).
        shrink: pulls similarities of rare candidates to 0.

    Returns:
        `[num_candidates, num_candidates]` float32; row i holds the neighbours of i, never i,
        the nearest first.
    """
    num_candidates = matrix.shape[1]
    norms = np.sqrt(np.asarray(matrix.sum(axis=0)).ravel())
    columns = matrix.tocsc()
    blocks = []
    for start in range(0, num_candidates, _BLOCK):
        stop = min(start + _BLOCK, num_candidates)
        block = (columns[:, start:stop].T @ matrix).tocsr()
        lengths = np.diff(block.indptr)
        owners = np.repeat(np.arange(start, stop), lengths)
        scale = norms[owners] * norms[block.indices] + shrink
        block.data = np.where(owners == block.indices, 0.0, block.data / scale).astype(np.float32)
        order = np.lexsort((block.indices, -block.data, owners))
        rank = np.arange(len(owners)) - np.repeat(block.indptr[:-1], lengths)
        kept = order[(rank < num_neighbours) & (block.data[order] > 0)]
        blocks.append(
            sparse.csr_matrix(
                (
                    block.data[kept],
                    block.indices[kept],
                    _row_starts(owners[kept] - start, stop - start),
                ),
                shape=(stop - start, num_candidates),
            )
        )
    return sparse.vstack(blocks, format="csr")


def nearest(neighbours: sparse.csr_matrix, num_neighbours: int) -> sparse.csr_matrix:
    """The first few neighbours of each row of `cosine_neighbours`."""
    lengths = np.diff(neighbours.indptr)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    rank = np.arange(len(owners)) - np.repeat(neighbours.indptr[:-1], lengths)
    kept = rank < num_neighbours
    starts = _row_starts(owners[kept], len(lengths))
    return sparse.csr_matrix(
        (neighbours.data[kept], neighbours.indices[kept], starts), shape=neighbours.shape
    )


def _row_starts(owners: NDArray[np.integer], num_rows: int) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=num_rows))])


class ItemKnnScorer:
    """Sum of the similarities between a candidate and those of the query's profile."""

    def __init__(self, profiles: sparse.csr_matrix, neighbours: sparse.csr_matrix) -> None:
        self._profiles = profiles
        self._neighbours = neighbours

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]`; 0 for a query without a profile."""
        return np.asarray((self._profiles[queries] @ self._neighbours).todense())
