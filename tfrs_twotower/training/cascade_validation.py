"""Fits the weighted sum of the cascade on validation queries, and measures the cascade."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.ranking.order import re_rank
from tfrs_twotower.towers.linear_member import LinearMember
from tfrs_twotower.towers.tower import Tower, Towers
from tfrs_twotower.training.validation import in_chunks, rank

_PENALTY = 1e-4
_ROUNDING = 1e-9
_PAIRS_AT_ONCE = 16_384


def fit_combination(
    features: NDArray[np.floating], relevant: NDArray[np.bool_], present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Fits the weights of a linear score that ranks relevant candidates first.

    Minimises, over the queries with a relevant candidate in their pool, the mean of

        - 1 / |R| sum_{j in R} log( e^{w x_j} / (e^{w x_j} + sum_{i not in R} e^{w x_i}) )

    plus a small L2 penalty on the weights of the features, standardised inside their pools. The
    loss is convex and smooth, so L-BFGS finds its only minimum. Each positive competes with the
    irrelevant candidates only. Adding a constant to a feature for a whole pool changes nothing.

    Args:
        features: `[num_queries, pool, num_features]`.
        relevant: `[num_queries, pool]`.
        present: `[num_queries, pool]`, false at the padding of a short pool.

    Returns:
        `[num_features]` weights of the features before standardisation. If no query has both a
        relevant and an irrelevant candidate, the first feature has weight 1 and the others 0.
    """
    relevant = relevant & present
    usable = relevant.any(axis=1) & (present & ~relevant).any(axis=1)
    num_features = features.shape[-1]
    if not usable.any():
        return np.eye(num_features)[0]
    x = features[usable].astype(np.float64)
    relevant, present = relevant[usable], present[usable]
    x = np.where(present[:, :, None], x, 0.0)
    largest = np.abs(x).max(axis=(0, 1))
    x -= x.sum(axis=1, keepdims=True) / present.sum(axis=1)[:, None, None]
    spread = np.sqrt((x[present] ** 2).mean(axis=0))
    # Apart from rounding, such a feature is constant in every pool: its weight is 0.
    spread[spread <= _ROUNDING * largest] = np.inf
    x /= spread
    irrelevant = present & ~relevant
    query, position = np.nonzero(relevant)
    share = 1.0 / relevant.sum(axis=1)[query] / len(x)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = x @ weights
        others = np.where(irrelevant, scores, -np.inf)
        largest = others.max(axis=1)
        odds = np.exp(others - largest[:, None])
        total = odds.sum(axis=1)
        log_rest = largest + np.log(total)
        mean_rest = np.einsum("qn,qnf->qf", odds / total[:, None], x)
        own = scores[query, position]
        gap = log_rest[query] - own
        value = share @ np.logaddexp(0.0, gap) + _PENALTY * weights @ weights
        error = share * expit(gap)
        gradient = error @ (mean_rest[query] - x[query, position]) + 2.0 * _PENALTY * weights
        return float(value), gradient

    start = np.eye(num_features)[0]
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x) / spread


class Pools:
    """The retrieved candidates of each validation query, and their features.

    The retrieval towers must not have learned from these queries, because their scores of relevant
    candidates would then be higher here than in service.
    """

    def __init__(
        self,
        retrieval: Towers,
        corpus_tokens: dict[str, tf.Tensor],
        queries: QuerySet,
        *,
        num_candidates: int,
        signals: NDArray[np.float32],
        linear: LinearMember | None = None,
    ) -> None:
        """Retrieves the pools once.

        Args:
            retrieval: towers of the first stage.
            corpus_tokens: `[corpus size, ...]` by name.
            queries: the validation queries, with tokens as inputs.
            num_candidates: size of a pool.
            signals: `[corpus size, num_signals]`.
            linear: EASE, if it is a member; fitted, like the towers, in the first fit.
        """
        self.corpus_tokens = corpus_tokens
        self.queries = queries
        embedded = in_chunks(retrieval.query.embed_tokens, queries.inputs)
        corpus = in_chunks(retrieval.candidate.embed_tokens, corpus_tokens)
        self.rows = rank(embedded, corpus, queries, num_candidates)
        self.present = self.rows >= 0
        self.valid_rows = np.maximum(self.rows, 0)
        self._retrieval = np.stack(
            [corpus[rows] @ vector for rows, vector in zip(self.valid_rows, embedded, strict=True)]
        )
        self._fixed = signals[self.valid_rows]
        if linear is not None:
            self._fixed = np.concatenate([self._linear_scores(linear), self._fixed], axis=2)
        self._relevant = _relevant(self.rows, queries)

    def fit(self, interactions: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
        """Fits the weights of the features.

        The features are the retrieval score, the interactions `[num_queries, pool]` of the trained
        members, the scores of the linear member, and the signals.
        """
        return fit_combination(self._features(interactions), self._relevant, self.present)

    def measure(
        self,
        metric: str,
        weights: NDArray[np.floating],
        interactions: Sequence[NDArray[np.floating]],
    ) -> float:
        """Returns the mean metric of the pools in the order of the weighted sum."""
        ranked = re_rank(self.rows, self._features(interactions) @ weights)
        return float(per_query(metric, judge(ranked, self.queries.truth)).mean())

    def retrieval_alone(self, metric: str) -> float:
        """Returns the mean metric of the pools in the order of retrieval."""
        return float(per_query(metric, judge(self.rows, self.queries.truth)).mean())

    def _features(self, interactions: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
        parts = [self._retrieval[..., None], *(part[..., None] for part in interactions)]
        return np.concatenate([*parts, self._fixed], axis=2).astype(np.float64)

    def _linear_scores(self, linear: LinearMember) -> NDArray[np.float32]:
        """`[num_queries, pool, num_half_lives]`."""
        heads = in_chunks(linear.encode, self.queries.inputs)
        size = max(1, _PAIRS_AT_ONCE // self.rows.shape[1])
        scores = [
            linear.scores(
                tf.constant(heads[start : start + size]),
                tf.constant(self.valid_rows[start : start + size]),
            ).numpy()
            for start in range(0, len(heads), size)
        ]
        return np.concatenate(scores).transpose(0, 2, 1)


class MemberValidator:
    """Measures the cascade with one member; every measurement fits the weighted sum.

    The sum is fitted and measured on the same queries, which has little effect with a few weights
    and hundreds of queries.
    """

    def __init__(self, towers: Towers, pools: Pools, metric: str) -> None:
        """Prepares the measurement of a member's towers, which are of kind `inttower`."""
        self._scorer = towers.scorer
        self._pools = pools
        self._metric = metric
        self._query_heads = _heads_of(towers.query, pools.queries.inputs)
        self._candidate_heads = _heads_of(towers.candidate, pools.corpus_tokens)

    def measure(self) -> dict[str, float]:
        """Returns the metric by its name."""
        interactions = [self.interaction()]
        weights = self._pools.fit(interactions)
        return {self._metric: self._pools.measure(self._metric, weights, interactions)}

    def interaction(self) -> NDArray[np.float32]:
        """Returns `[num_queries, pool]` pair scores with the current weights."""
        pools = self._pools
        queries = in_chunks(self._query_heads, pools.queries.inputs)
        candidates = in_chunks(self._candidate_heads, pools.corpus_tokens)
        size = max(1, _PAIRS_AT_ONCE // pools.rows.shape[1])
        return np.concatenate(
            [
                self._scorer(
                    tf.constant(queries[start : start + size]),
                    tf.constant(candidates[pools.valid_rows[start : start + size]]),
                ).numpy()
                for start in range(0, len(queries), size)
            ]
        )


def _heads_of(tower: Tower, tokens: Mapping[str, Any]) -> tf.types.experimental.PolymorphicFunction:
    signature = {
        name: tf.TensorSpec([None, *values.shape[1:]], values.dtype)
        for name, values in tokens.items()
    }
    return tf.function(
        lambda tokens: tower.encode(tokens, training=False).heads,
        autograph=False,
        input_signature=[signature],
    )


def _relevant(pool: NDArray[np.int64], queries: QuerySet) -> NDArray[np.bool_]:
    truth = queries.truth.relevant
    return np.stack(
        [
            np.isin(rows, truth.values[start:end])
            for rows, start, end in zip(pool, truth.offsets[:-1], truth.offsets[1:], strict=True)
        ]
    )
