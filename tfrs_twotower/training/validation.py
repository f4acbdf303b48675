"""Validation during training: exact ranking of the whole corpus, seen candidates left out."""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.metrics import judge, parse_metric, per_query
from tfrs_twotower.metrics.embedding_space import embedding_health
from tfrs_twotower.towers.tower import Towers

_CHUNK = 512
_SCORES_PER_CHUNK = 1 << 25  # 128 MB of float32


class Validator:
    """Measures the current weights of the towers."""

    def __init__(
        self,
        towers: Towers,
        corpus_tokens: dict[str, tf.Tensor],
        queries: QuerySet,
        metrics: tuple[str, ...],
    ) -> None:
        """Prepares the measurement.

        Args:
            towers: the towers to measure.
            corpus_tokens: `[num_candidates, ...]` by name.
            queries: the validation queries, with tokens as inputs.
            metrics: names such as `recall@100`.
        """
        self._towers = towers
        self._corpus_tokens = corpus_tokens
        self._queries = queries
        self._metrics = metrics
        self._k = max(parse_metric(name)[1] for name in metrics)
        self._embed_queries = tf.function(
            lambda tokens: towers.query.embed_tokens(tokens, training=False),
            autograph=False,
            reduce_retracing=True,
        )
        self._embed_candidates = tf.function(
            lambda tokens: towers.candidate.embed_tokens(tokens, training=False),
            autograph=False,
            reduce_retracing=True,
        )

    def measure(self) -> dict[str, float]:
        """Returns metrics, as means over the queries, and embedding health."""
        queries, candidates = self._embed()
        judged = judge(rank(queries, candidates, self._queries, self._k), self._queries.truth)
        values = {name: float(per_query(name, judged).mean()) for name in self._metrics}
        relevant = self._queries.truth.relevant
        positives = relevant.values[relevant.offsets[:-1]]
        if len(candidates) > 1:
            values |= embedding_health(queries, candidates, positives)
        return values

    def recall_by_length(self, longest: int) -> list[float]:
        """Returns recall@1, recall@2 and so on, to `longest` or the size of the corpus."""
        queries, candidates = self._embed()
        k = min(longest, len(candidates))
        return recall_by_length(rank(queries, candidates, self._queries, k), self._queries)

    @property
    def num_queries(self) -> int:
        """Number of queries that are measured."""
        return len(self._queries)

    def _embed(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self._towers.refresh_derived_state(self._corpus_tokens)
        return (
            in_chunks(self._embed_queries, self._queries.inputs),
            in_chunks(self._embed_candidates, self._corpus_tokens),
        )


def rank(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    restrictions: QuerySet,
    k: int,
) -> NDArray[np.int64]:
    """Ranks the corpus exactly: score descending, then row ascending.

    Args:
        queries: `[num_queries, embedding_dim]`.
        candidates: `[num_candidates, embedding_dim]`.
        restrictions: the rows that are left out of each ranking.
        k: length of the rankings.

    Returns:
        `[num_queries, k]` rows, -1 at the end of a shorter ranking.
    """
    corpus = tf.constant(candidates)
    excluded = None if restrictions.rankable is None else tf.constant(~restrictions.rankable)
    size = max(1, min(_CHUNK, _SCORES_PER_CHUNK // len(candidates)))
    parts = []
    for start in range(0, len(queries), size):
        chunk = np.arange(start, min(start + size, len(queries)))
        seen = restrictions.seen.take(chunk)
        cells = np.stack([seen.owners, seen.values], axis=1)
        parts.append(_top_rows(tf.constant(queries[chunk]), corpus, cells, excluded, k))
    ranked = np.concatenate(parts).astype(np.int64)
    short = k - ranked.shape[1]
    return np.pad(ranked, ((0, 0), (0, max(short, 0))), constant_values=-1)


def recall_by_length(ranked: NDArray[np.int64], queries: QuerySet) -> list[float]:
    """Mean recall@1, recall@2 and so on of rankings `[num_queries, k]`; k numbers."""
    judged = judge(ranked, queries.truth)
    hits = np.cumsum(judged.hits(ranked.shape[1]), axis=1)
    return [round(float(mean), 6) for mean in (hits / judged.num_relevant[:, None]).mean(axis=0)]


def relevant_places(pool: NDArray[np.int64], queries: QuerySet) -> NDArray[np.bool_]:
    """`[num_queries, size]`: where rows of these pools are relevant."""
    truth = queries.truth.relevant
    return np.stack(
        [
            np.isin(rows, truth.values[start:end])
            for rows, start, end in zip(pool, truth.offsets[:-1], truth.offsets[1:], strict=True)
        ]
    )


def _top_rows(
    queries: tf.Tensor,
    corpus: tf.Tensor,
    seen: NDArray[np.int64],
    excluded: tf.Tensor | None,
    k: int,
) -> NDArray[np.int32]:
    scores = tf.linalg.matmul(queries, corpus, transpose_b=True)
    lowest = tf.constant(-np.inf, scores.dtype)
    if len(seen):
        scores = tf.tensor_scatter_nd_update(scores, seen, tf.fill([len(seen)], lowest))
    if excluded is not None:
        scores = tf.where(excluded[tf.newaxis, :], lowest, scores)
    # top_k returns the lower row first among equal scores: the total order of the searchers.
    best = tf.math.top_k(scores, min(k, corpus.shape[0]))
    return tf.where(tf.math.is_inf(best.values), -1, best.indices).numpy()


def in_chunks(embed: Any, tokens: dict[str, Any]) -> NDArray[np.float32]:
    """Applies a function to many tokens, one chunk at a time.

    Args:
        embed: maps tokens `[batch, ...]` by name to a tensor `[batch, ...]`.
        tokens: `[size, ...]` by name.

    Returns:
        `[size, ...]`.
    """
    # The slice of a tensor would be an operation for each chunk.
    arrays = {name: np.asarray(values) for name, values in tokens.items()}
    size = len(next(iter(arrays.values())))

    def chunk(start: int) -> dict[str, tf.Tensor]:
        return {name: tf.constant(own[start : start + _CHUNK]) for name, own in arrays.items()}

    return np.concatenate([embed(chunk(start)).numpy() for start in range(0, size, _CHUNK)])
