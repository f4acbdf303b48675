"""Re-scoring compiled by Numba, from the same rows of int8 as the fused second stage reads."""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from serving.graph.candidate_heads import stored_heads
from tests.benchmarks.million_candidates.re_scoring import Rows
from tests.benchmarks.million_candidates.world import Floats, World

_CACHE_LINE = 64
_ROWS_AHEAD = 8
_FOR_READING, _KEPT_LONG, _DATA = 0, 3, 1


class CompiledReScoring:
    """`re_scoring.re_score` as compiled code."""

    def __init__(self, world: World) -> None:
        """Packs the heads of a world: constant, scales and entries of a candidate in one row."""
        entries, scales = stored_heads([world.candidate_heads], len(world.constants), "int8")
        numbers = np.concatenate([world.constants[:, None], *scales], axis=1)
        self._first = numbers.shape[1] * numbers.itemsize
        used = self._first + entries.shape[1]
        self._table = np.zeros((len(entries), used + -used % _CACHE_LINE), np.int8)
        self._table[:, : self._first] = numbers.view(np.int8)
        self._table[:, self._first : used] = entries
        self._world = world

    def re_score(self, queries: npt.NDArray[np.int64], rows: Rows, scores: Floats, k: int) -> Rows:
        """See `re_scoring.re_score`."""
        found = np.empty((len(queries), k), np.int64)
        for place, query in enumerate(queries):
            final = _final_scores(
                self._table,
                self._table.view(np.float32),
                self._first,
                self._world.query_heads[query],
                rows[place],
                scores[place],
                np.float32(self._world.retrieval_weight),
                np.float32(self._world.interaction_weight),
            )
            best = np.argpartition(final, len(final) - k)[-k:]
            found[place] = rows[place, best[np.argsort(-final[best])]]
        return found


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(typing: Any, address: Any) -> Any:
    """Asks for the cache line at an address, and does not wait for it."""
    del typing, address

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        place = builder.inttoptr(arguments[0], byte)
        builder.call(function, [place, word(_FOR_READING), word(_KEPT_LONG), word(_DATA)])
        return context.get_dummy_value()

    return types.void(types.intp), generate


@njit(fastmath=True)  # type: ignore[untyped-decorator]
def _best_matches(codes, scales, query, heads):  # type: ignore[no-untyped-def]
    """The interaction of one candidate; `heads` is room for its entries."""
    num_heads, dim = query.shape
    for head in range(num_heads):
        for d in range(dim):
            heads[head, d] = codes[head * dim + d]
    total = np.float32(0.0)
    for r in range(num_heads):
        best = np.float32(-np.inf)
        for head in range(num_heads):
            product = np.float32(0.0)
            for d in range(dim):
                product += heads[head, d] * query[r, d]
            best = max(best, product * scales[head])
        total += best
    return total


@njit(fastmath=True)  # type: ignore[untyped-decorator]
def _final_scores(  # type: ignore[no-untyped-def]
    entries, numbers, first, query, rows, scores, retrieval_weight, interaction_weight
):
    final = np.full(len(rows), np.float32(-np.inf))
    heads = np.empty(query.shape, np.float32)
    row_bytes = entries.shape[1]
    for ahead in range(len(rows) + _ROWS_AHEAD):
        if ahead < len(rows):
            for at in range(0, row_bytes, _CACHE_LINE):
                _prefetch(entries.ctypes.data + rows[ahead] * row_bytes + at)
        place = ahead - _ROWS_AHEAD
        if place >= 0 and rows[place] >= 0:
            row = rows[place]
            matches = _best_matches(entries[row, first:], numbers[row, 1:], query, heads)
            own = retrieval_weight * scores[place] + numbers[row, 0]
            final[place] = own + interaction_weight * matches
    return final
