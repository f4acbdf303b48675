"""Chooses search parameters by measuring them on real and on perturbed query embeddings."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_twotower.index import partial_search, quality
from tfrs_twotower.ranking.order import ExactLists, FloatArray, Overlap, RowArray

_QUERIES_AT_ONCE = 256
_MOST_PAST_TARGET = 300_000_000
"""Scores that a choice may take to be measured although a cheaper one has reached the target."""
_SEED = 20_201


class MeasuredQueries(NamedTuple):
    """The query embeddings that an index is measured on."""

    real: FloatArray
    """`[n, embedding_dim]`, at least one."""
    perturbed: FloatArray
    """`[m, embedding_dim]`, at least one: queries that users have not sent yet, see `of`."""

    @classmethod
    def of(
        cls, real: FloatArray, perturbed: FloatArray | None = None, limit: int | None = None
    ) -> "MeasuredQueries":
        """Takes at most `limit` queries of each kind.

        An index keeps what it promises only to queries like those that it was measured on, and
        those of tomorrow lie elsewhere: between today's rather than among them.

        Args:
            real: `[n, embedding_dim]` embeddings of real queries.
            perturbed: embeddings of queries whose features were disturbed; where there are none,
                they are made of the real embeddings, see `blend`.
            limit: largest number of each kind; None takes all.
        """
        if limit is not None:
            real = sample_queries(real, limit)
        if perturbed is None or not len(perturbed):
            return cls(real, blend(real))
        return cls(real, perturbed if limit is None else sample_queries(perturbed, limit))


def blend(queries: FloatArray) -> FloatArray:
    """The midpoint of each query and another one, drawn at random, at the query's own length.

    Args:
        queries: `[num_queries, embedding_dim]`.
    """
    order = np.random.default_rng(_SEED).permutation(len(queries))
    others = queries[np.roll(order, 1)][np.argsort(order)]
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    other_lengths = np.linalg.norm(others, axis=1, keepdims=True)
    # Directions are mixed, so that a long vector does not swallow a short one.
    middle = queries * np.where(lengths > 0, other_lengths, 1.0) + others * lengths
    sizes = np.linalg.norm(middle, axis=1, keepdims=True)
    scale = np.divide(lengths, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return np.where(sizes > 1e-6 * lengths, middle * scale, queries).astype(np.float32)


@dataclass(frozen=True)
class Measured:
    """One choice of search parameters, with its measured overlap and time."""

    parameters: quality.SearchParameters
    real: Overlap
    p50_ms: float
    perturbed: Overlap | None = None
    """None where a cheaper choice had reached the target, or this one misses it on real queries."""

    @property
    def least(self) -> float:
        """The smaller mean overlap of those that were measured."""
        return min(self.real.mean, self.perturbed.mean if self.perturbed else 1.0)

    def as_json(self) -> dict[str, Any]:
        """For `quality.json`."""
        perturbed = self.perturbed and self.perturbed.mean
        return {
            **asdict(self.parameters),
            "overlap": self.real.mean,
            "worst_decile": self.real.worst_decile,
            "perturbed_overlap": perturbed,
            "p50_ms": self.p50_ms,
        }


def sample_queries(queries: FloatArray, limit: int) -> FloatArray:
    """At most `limit` queries, evenly spaced over the given order."""
    if len(queries) <= limit:
        return queries
    return queries[np.linspace(0, len(queries) - 1, limit).astype(np.int64)]


def sweep(
    index: partial_search.PartialSearch,
    vectors: FloatArray,
    grid: Sequence[quality.SearchParameters],
    queries: MeasuredQueries,
    target: float,
    report: Callable[[int, int], None],
    *,
    to_target: bool = False,
) -> list[Measured]:
    """Measures every choice against exact search.

    Real queries are measured with every choice, but of a large corpus (above 150,000 candidates for
    2,000 queries) not with those that score much more of it than the first that reaches the target:
    the last would score all of it. Perturbed ones are measured until a choice reaches the target on
    both, because measuring is most of the time that building an index takes.

    Args:
        index: the search whose parameters are to be chosen.
        vectors: `[num_candidates, embedding_dim]` that it searches.
        grid: choices, all of one k, cheapest first.
        queries: the queries to measure on.
        target: the overlap that is wanted.
        report: receives the number of measured choices and of all choices.
        to_target: whether it ends with the first choice that reaches the target on both kinds.

    Returns:
        One measurement for each choice that was measured, in the order of the grid.
    """
    k = grid[0].k
    most_leaves = max(parameters.num_leaves_to_search or 1 for parameters in grid)
    real, perturbed = (ExactLists.of(kind, vectors, k) for kind in queries)
    has_leaves = grid[0].num_leaves_to_search is not None
    # One graph serves all choices, because the amounts are its inputs.
    ask = tf.function(
        lambda embeddings, leaves, reordered: index.search(
            embeddings,
            k,
            parameters=quality.SearchParameters(k, leaves if has_leaves else None, reordered),
        )[1],
        input_signature=[
            tf.TensorSpec([None, vectors.shape[1]], tf.float32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.int32),
        ],
        autograph=False,
    )
    measured: list[Measured] = []
    reached = False
    for done, parameters in enumerate(grid, 1):
        share = (parameters.num_leaves_to_search or 1) / most_leaves
        most = 0 if to_target else _MOST_PAST_TARGET
        if reached and share * len(vectors) * len(queries.real) > most:
            break
        amounts = (
            tf.constant(parameters.num_leaves_to_search or 0),
            tf.constant(parameters.num_reordering_candidates or 0),
        )
        chosen = functools.partial(_answer, ask, amounts)
        choice = Measured(
            parameters, measure_overlap(chosen, real), quality.median_ms(chosen, queries.real)
        )
        if not reached and (choice.real.mean >= target or done == len(grid)):
            choice = replace(choice, perturbed=measure_overlap(chosen, perturbed))
            reached = choice.least >= target
        measured.append(choice)
        report(done, len(grid))
    return measured


def _answer(
    ask: Callable[..., tf.Tensor], amounts: tuple[Any, ...], queries: tf.Tensor
) -> tf.Tensor:
    return ask(queries, *amounts)


def measure_overlap(ask: Callable[[tf.Tensor], tf.Tensor], exact: ExactLists) -> Overlap:
    """Overlap@k with exact search; k is the length of the exact lists.

    Args:
        ask: embeddings `[batch, embedding_dim]` to rows `[batch, k]`.
        exact: the exact lists of the queries.
    """
    return Overlap.of(exact.overlaps(_rows(ask, exact.queries)))


def _rows(ask: Callable[[tf.Tensor], tf.Tensor], queries: FloatArray) -> RowArray:
    starts = range(0, len(queries), _QUERIES_AT_ONCE)
    parts = [ask(tf.constant(queries[at : at + _QUERIES_AT_ONCE])).numpy() for at in starts]
    return np.concatenate(parts).astype(np.int64)


def choose(measured: Sequence[Measured], target: float) -> Measured:
    """The cheapest choice that reaches the target on both kinds of queries, else the best one.

    Measured times are not considered, so that the same vectors always give the same choice.
    """
    both = [choice for choice in measured if choice.perturbed is not None]
    for choice in both:
        if choice.least >= target:
            return choice
    return max(both, key=lambda choice: choice.least)
