"""Neighbours of candidates by who chose them: item kNN."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_BLOCK = 2_000


def cosine_neighbours(
    matrix: sparse.csr_matrix,
    num_neighbours: int,
    *,
    shrink: float = 0.0,
    before: sparse.csr_matrix | None = None,
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

    Returns:
        `[num_candidates, num_candidates]` float32; row i holds the neighbours of i, never i,
        the nearest first.
    """
    num_candidates = matrix.shape[1]
    norms = np.sqrt(np.maximum(np.asarray(matrix.sum(axis=0)).ravel(), 1.0))
    columns = (matrix if before is None else before).tocsc()
    blocks = []
    for start in range(0, num_candidates, _BLOCK):
        stop = min(start + _BLOCK, num_candidates)
        block = (columns[:, start:stop].T @ matrix).tocsr()
        block.sort_indices()
        lengths = np.diff(block.indptr)
        owners = np.repeat(np.arange(start, stop), lengths)
        scale = norms[owners] * norms[block.indices] + shrink
        block.data = np.where(owners == block.indices, 0.0, block.data / scale).astype(np.float32)
        # The bits of floats that are not negative sort like the floats; ties keep their order.
        falling = np.uint64(0xFFFFFFFF) - block.data.view(np.uint32).astype(np.uint64)
        order = np.argsort((owners.astype(np.uint64) << np.uint64(32)) | falling, kind="stable")
        rank = np.arange(len(owners)) - np.repeat(block.indptr[:-1], lengths)
        kept = order[(rank < num_neighbours) & (block.data[order] > 0)]
        blocks.append(
            sparse.csr_matrix(
                (
                    block.data[kept],
                    block.indices[kept],
                    row_starts(owners[kept] - start, stop - start),
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
    starts = row_starts(owners[kept], len(lengths))
    return sparse.csr_matrix(
        (neighbours.data[kept], neighbours.indices[kept], starts), shape=neighbours.shape
    )


def row_starts(owners: NDArray[np.integer], num_rows: int) -> NDArray[np.int64]:
    """`[num_rows + 1]` where the entries of each row start, for ascending owners."""
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=num_rows))])
