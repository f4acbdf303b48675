"""Re-scoring: what a peer's list goes through after retrieval."""

import functools
import importlib.util
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tests.benchmarks.million_candidates.world import Floats, World

Rows = npt.NDArray[np.int64]
ReScore = Callable[[npt.NDArray[np.int64], Rows, Floats, int], Rows]
"""`re_score` of one world."""


def compiled(world: World) -> ReScore | None:
    """Compiled re-scoring from heads in int8; None without Numba."""
    if importlib.util.find_spec("numba") is None:
        return None
    from tests.benchmarks.million_candidates.compiled import CompiledReScoring

    return CompiledReScoring(world).re_score


def re_score(
    world: World, queries: npt.NDArray[np.int64], rows: Rows, scores: Floats, k: int
) -> Rows:
    """The best k of what was retrieved, by the final score.

    The quickest of the forms that were tried: a query at a time, one gather and one product, the
    maximum over heads as maxima of slices, and a sort of the best k alone.

    Args:
        world: where the heads are.
        queries: their numbers.
        rows: `[len(queries), n]` that were retrieved; below 0 is nobody.
        scores: `[len(queries), n]` inner products.
        k: list length, at most n.

    Returns:
        `[len(queries), k]` rows, best first.
    """
    lists = zip(queries, rows, scores, strict=True)
    return np.stack([_of_one(world, *one, k) for one in lists])


def _of_one(world: World, query: int, rows: Rows, scores: Floats, k: int) -> Rows:
    num_heads, dim = world.candidate_heads.shape[1:]
    heads = np.take(world.candidate_heads, rows, axis=0, mode="wrap")
    products = heads.reshape(-1, dim) @ world.query_heads[query].T
    of_heads = products.reshape(len(rows), num_heads, -1).transpose(1, 0, 2)
    final: Floats = functools.reduce(np.maximum, of_heads).sum(axis=1)
    final *= world.interaction_weight
    final += world.retrieval_weight * scores
    final += world.constants[rows]
    if rows.min() < 0:
        final[rows < 0] = -np.inf
    best = np.argpartition(final, len(final) - k)[-k:]
    chosen: Rows = rows[best[np.argsort(-final[best])]]
    return chosen
