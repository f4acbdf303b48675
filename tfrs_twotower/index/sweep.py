"""Chooses search parameters by measuring them on real query embeddings."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.index import partial_search, quality
from tfrs_twotower.ranking.order import FloatArray, RowArray, exact_top_k, mean_overlap

_QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Measured:
    """One choice of search parameters, with its measured overlap and time."""

    parameters: quality.SearchParameters
    overlap: float
    p50_ms: float

    def as_json(self) -> dict[str, Any]:
        """For `quality.json`."""
        return {**asdict(self.parameters), "overlap": self.overlap, "p50_ms": self.p50_ms}


def sample_queries(queries: FloatArray, limit: int) -> FloatArray:
    """At most `limit` queries, evenly spaced over the given order."""
    if len(queries) <= limit:
        return queries
    return queries[np.linspace(0, len(queries) - 1, limit).astype(np.int64)]


def sweep(
    index: partial_search.PartialSearch,
    vectors: FloatArray,
    grid: Sequence[quality.SearchParameters],
    queries: FloatArray,
    report: Callable[[int, int], None],
) -> list[Measured]:
    """Measures every choice against exact search.

    Args:
        index: the search whose parameters are to be chosen.
        vectors: `[num_candidates, embedding_dim]` that it searches.
        grid: choices, all of one k.
        queries: `[num_queries, embedding_dim]`, at least one.
        report: receives the number of measured choices and of all choices.

    Returns:
        One measurement for each choice, in the order of the grid.
    """
    k = grid[0].k
    exact = exact_top_k(queries, vectors, k)[1]
    has_leaves = grid[0].num_leaves_to_search is not None
    # One graph serves all choices, because the amounts are its inputs.
    ask = tf.function(
        lambda embeddings, leaves, reordered: index.search(
            embeddings,
            k,
            parameters=quality.SearchParameters(k, leaves if has_leaves else None, reordered),
        )[1],
        input_signature=[
            tf.TensorSpec([None, queries.shape[1]], tf.float32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.int32),
        ],
        autograph=False,
    )
    measured = []
    for done, parameters in enumerate(grid, 1):
        amounts = (
            tf.constant(parameters.num_leaves_to_search or 0),
            tf.constant(parameters.num_reordering_candidates or 0),
        )
        chosen = functools.partial(_answer, ask, amounts)
        overlap = mean_overlap(_rows(chosen, queries), exact)
        measured.append(Measured(parameters, overlap, quality.median_ms(chosen, queries)))
        report(done, len(grid))
    return measured


def _answer(
    ask: Callable[..., tf.Tensor], amounts: tuple[Any, ...], queries: tf.Tensor
) -> tf.Tensor:
    return ask(queries, *amounts)


def measure_overlap(
    ask: Callable[[tf.Tensor], tf.Tensor], vectors: FloatArray, queries: FloatArray, k: int
) -> float:
    """Mean overlap@k with exact search.

    Args:
        ask: embeddings `[batch, embedding_dim]` to rows `[batch, k]`.
        vectors: `[num_candidates, embedding_dim]` that it searches.
        queries: `[num_queries, embedding_dim]`, at least one.
        k: list length.
    """
    return mean_overlap(_rows(ask, queries), exact_top_k(queries, vectors, k)[1])


def _rows(ask: Callable[[tf.Tensor], tf.Tensor], queries: FloatArray) -> RowArray:
    starts = range(0, len(queries), _QUERIES_AT_ONCE)
    parts = [ask(tf.constant(queries[at : at + _QUERIES_AT_ONCE])).numpy() for at in starts]
    return np.concatenate(parts).astype(np.int64)


def choose(measured: Sequence[Measured], target: float) -> Measured:
    """The cheapest choice that reaches the target, else the one with the most overlap.

    Measured times are not considered, so that the same vectors always give the same choice.
    """
    for choice in measured:
        if choice.overlap >= target:
            return choice
    return max(measured, key=lambda choice: choice.overlap)
