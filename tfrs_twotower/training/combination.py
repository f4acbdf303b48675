"""Fits the weighted sum of the cascade out of fold, and keeps retrieval's order if that is better.

The first feature is the retrieval score. Weights are drawn towards those that leave retrieval's
order as it is; how strongly, and whether the combination is used at all, is decided on validation
queries that the weights in question were not fitted on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

PENALTIES = (1.0, 1e-2, 1e-4)
"""L2 penalties of the distance to retrieval's own order, the most cautious first."""
_PENALTY = PENALTIES[-1]
_RETRIEVAL_ALONE = 1e9
"""A penalty that leaves nothing but retrieval's own order."""
_ROUNDING = 1e-9
NUM_FOLDS = 5
Bounds = tuple[float | None, float | None]
_FREE: Bounds = (None, None)
_NOT_NEGATIVE: Bounds = (0.0, None)

PerQuery = Callable[[NDArray[np.floating]], NDArray[np.float64]]
"""Takes scores `[num_queries, pool]` and returns a metric of each query, `[num_queries]`."""


@dataclass(frozen=True)
class Lists:
    """The pools of some queries, as a problem of the weights.

    The loss of a query with a relevant and an irrelevant candidate is

        - 1 / |R| sum_{j in R} log( e^{w x_j} / (e^{w x_j} + sum_{i not in R} e^{w x_i}) )

    It is convex and smooth. Each positive competes with the irrelevant candidates only. Adding a
    constant to a feature for a whole pool changes nothing.
    """

    x: NDArray[np.float64]
    """`[num_queries, pool, num_features]` features, standardised inside the pools; finite numbers
    without a meaning at the padding."""
    spread: NDArray[np.float64]
    """`[num_features]` what they were divided by; infinite for a feature without differences."""
    relevant: NDArray[np.bool_]
    """`[num_queries, pool]`."""
    present: NDArray[np.bool_]
    """`[num_queries, pool]`, false at the padding of a short pool."""

    @classmethod
    def of(
        cls,
        features: NDArray[np.floating],
        relevant: NDArray[np.bool_],
        present: NDArray[np.bool_],
    ) -> "Lists":
        """Standardises the features over the queries that have a relevant candidate and another.

        Args:
            features: `[num_queries, pool, num_features]`, the retrieval score first.
            relevant: `[num_queries, pool]`.
            present: `[num_queries, pool]`.
        """
        relevant = relevant & present
        x = np.where(present[:, :, None], features.astype(np.float64), 0.0)
        usable = _usable(relevant, present)
        largest = np.abs(x[usable]).max(axis=(0, 1), initial=0.0)
        x -= x.sum(axis=1, keepdims=True) / np.maximum(present.sum(axis=1), 1)[:, None, None]
        inside = x[usable][present[usable]]
        spread = np.sqrt((inside**2).mean(axis=0)) if len(inside) else np.zeros(x.shape[-1])
        # Apart from rounding, such a feature is constant in every pool: its weight is 0.
        spread[spread <= _ROUNDING * largest] = np.inf
        return cls(x / spread, spread, relevant, present)

    def take(self, queries: NDArray[np.bool_]) -> "Lists":
        """Some of the queries, standardised as all are."""
        return Lists(self.x[queries], self.spread, self.relevant[queries], self.present[queries])

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """`[num_queries]` whether a query has a relevant candidate and another."""
        return _usable(self.relevant, self.present)

    def scores(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """`[num_queries, pool]` for weights of the standardised features."""
        return np.asarray(self.x @ weights)

    def losses(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The loss of each usable query, `[num_usable]`, for scores of all queries."""
        own, relevant = scores[self.usable], self.relevant[self.usable]
        others = np.where(self.present[self.usable] & ~relevant, own, -np.inf)
        log_rest = np.logaddexp.reduce(others, axis=1)
        losses = np.where(relevant, np.logaddexp(0.0, log_rest[:, None] - own), 0.0)
        return np.asarray(losses.sum(axis=1) / relevant.sum(axis=1))

    def fit(
        self,
        penalty: float,
        towards: NDArray[np.float64],
        start: NDArray[np.float64],
        retrieval: Bounds = _FREE,
        discounts: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Minimises the mean loss plus penalty * |w - towards|^2 (L-BFGS finds the only minimum).

        Args:
            penalty: strength.
            towards: `[num_features]` weights, like the result of standardised features.
            start: `[num_features]` where the search starts.
            retrieval: bounds of the first weight.
            discounts: `[num_queries, pool]` weights of the relevant candidates; None weighs all
                alike.
        """
        if not self.usable.any():
            return towards
        x, relevant = self.x[self.usable], self.relevant[self.usable]
        irrelevant = self.present[self.usable] & ~relevant
        query, position = np.nonzero(relevant)
        share = 1.0 / relevant.sum(axis=1)[query] / len(x)
        if discounts is not None:
            share *= discounts[self.usable][relevant]
            share /= share.sum()
        positives = x[query, position]
        # One feature after the other in memory: both products of a step take half the time.
        columns = np.ascontiguousarray(x.reshape(-1, x.shape[-1]).T)

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            scores = (weights @ columns).reshape(relevant.shape)
            others = np.where(irrelevant, scores, -np.inf)
            largest = others.max(axis=1)
            odds = np.exp(others - largest[:, None])
            total = odds.sum(axis=1)
            log_rest = largest + np.log(total)
            gap = log_rest[query] - scores[query, position]
            away = weights - towards
            value = share @ np.logaddexp(0.0, gap) + penalty * away @ away
            error = share * expit(gap)
            odds *= (np.bincount(query, error, len(x)) / total)[:, None]
            gradient = columns @ odds.ravel() - error @ positives + 2.0 * penalty * away
            return float(value), gradient

        bounds = [retrieval] + [_FREE] * (x.shape[-1] - 1)
        with threadpool_limits(1, "blas"):  # its threads would wait busily between two steps
            found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
        return np.asarray(found.x)

    def retrieval_alone(self) -> NDArray[np.float64]:
        """Weights that keep retrieval's order, on the scale that has the least loss."""
        only = Lists(self.x[:, :, :1], self.spread[:1], self.relevant, self.present)
        scale = only.fit(_PENALTY, np.zeros(1), np.ones(1), _NOT_NEGATIVE)
        return np.pad(scale, (0, len(self.spread) - 1))


def _usable(relevant: NDArray[np.bool_], present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(relevant.any(axis=1) & (present & ~relevant).any(axis=1))


def folds_of(usable: NDArray[np.bool_], most: int = NUM_FOLDS) -> NDArray[np.int64]:
    """The fold of each query: usable queries and the others are dealt in turn, by their order."""
    num_folds = min(most, int(usable.sum()))
    folds = np.zeros(len(usable), np.int64)
    for kind in (usable, ~usable):
        folds[kind] = np.arange(int(kind.sum())) % max(1, num_folds)
    return folds


def cross_fitted(
    lists: Lists,
    penalty: float,
    folds: NDArray[np.int64],
    start: NDArray[np.float64] | None = None,
    retrieval: Bounds = _NOT_NEGATIVE,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores each query by weights that were fitted on the other folds.

    Args:
        lists: the queries.
        penalty: see `Lists.fit`.
        folds: `[num_queries]` number of each query's fold.
        start: `[num_folds, num_features]` where the searches start.
        retrieval: bounds of the weight of retrieval.

    Returns:
        Scores `[num_queries, pool]`, and the weights `[num_folds, num_features]` of the
        standardised features.
    """
    scores = np.zeros(lists.present.shape)
    weights = []
    for fold in range(int(folds.max(initial=0)) + 1):
        held_out = folds == fold
        others = lists.take(~held_out)
        anchor = others.retrieval_alone()
        weights.append(
            others.fit(penalty, anchor, anchor if start is None else start[fold], retrieval)
        )
        scores[held_out] = lists.take(held_out).scores(weights[-1])
    return scores, np.array(weights)


@dataclass(frozen=True)
class Combined:
    """Fitted weights, and what they are worth on queries that they were not fitted on."""

    weights: NDArray[np.float64]
    """`[num_features]` of the features as they came; retrieval 1 and the others 0 if the fitted
    ones were not better."""
    out_of_fold: NDArray[np.float64] | None
    """`[num_queries, pool]` scores by weights of other folds; None where retrieval's order is
    kept."""
    facts: dict[str, float | str]
    """How it was decided, for the manifest."""
    of_queries: NDArray[np.float64] | None = None
    """`[num_queries, num_features]` the weights behind `out_of_fold`."""


def combine(
    features: NDArray[np.floating],
    relevant: NDArray[np.bool_],
    present: NDArray[np.bool_],
    per_query: PerQuery,
) -> Combined:
    """Fits the weights of a linear score that ranks relevant candidates first.

    The weight of retrieval may be negative, and the penalty small, only where that lowers the
    out-of-fold loss by more than one standard error of the paired differences: of the choices
    within that of the best one, the most cautious is taken (the one-standard-error rule of Breiman
    et al. 1984). Other weights may have any sign, because differences of two members can say what
    neither says. The result is used by the same rule: if its out-of-fold loss is below that of
    retrieval's own order by more than a standard error, and its out-of-fold metric is not below by
    as much. The metric is too noisy to decide alone: it looks at the first places only, and with a
    hundred queries misses a member that is far better than retrieval in a quarter of all cases.

    Args:
        features: `[num_queries, pool, num_features]`, the retrieval score first.
        relevant: `[num_queries, pool]`.
        present: `[num_queries, pool]`, false at the padding of a short pool.
        per_query: the metric that decides; it must depend on the order of the pool.
    """
    lists = Lists.of(features, relevant, present)
    retrieval = np.eye(features.shape[-1])[0]
    num_usable = int(lists.usable.sum())
    if num_usable < 2:
        reason = f"{num_usable} validation queries have a relevant candidate in their pool"
        return Combined(retrieval, None, {"order": "retrieval", "reason": reason})
    folds = folds_of(lists.usable)
    penalty, bounds, scores, of_folds = _choose(lists, folds)
    own = np.where(present, features[:, :, 0], 0.0)
    differences = per_query(scores) - per_query(own)
    gain, error = float(differences.mean()), standard_error(differences)
    alone, _ = cross_fitted(lists, _RETRIEVAL_ALONE, folds)
    less = lists.losses(alone) - lists.losses(scores)
    less_loss, loss_error = float(less.mean()), standard_error(less)
    facts: dict[str, float | str] = {
        "folds": min(NUM_FOLDS, num_usable),
        "penalty": penalty,
        "gain": round(gain, 6),
        "gain_standard_error": round(error, 6),
        "loss_gain": round(less_loss, 6),
        "loss_gain_standard_error": round(loss_error, 6),
    }
    if not (less_loss > loss_error and gain >= -error):
        reason = "the combination is not better out of fold"
        return Combined(retrieval, None, {"order": "retrieval", "reason": reason, **facts})
    anchor = lists.retrieval_alone()
    weights = lists.fit(penalty, anchor, anchor, bounds) / lists.spread
    of_queries = (of_folds / lists.spread)[folds]
    return Combined(weights, scores, {"order": "combination", **facts}, of_queries)


_Choice = tuple[float, Bounds, NDArray[np.float64], NDArray[np.float64]]


def _choose(lists: Lists, folds: NDArray[np.int64]) -> _Choice:
    """Penalty, bounds of retrieval's weight, and the out-of-fold scores and weights with both."""
    choices: list[_Choice] = []
    start = None
    for penalty in PENALTIES:
        scores, start = cross_fitted(lists, penalty, folds, start)
        choices.append((penalty, _NOT_NEGATIVE, scores, start))
        at_bound = bool((start[:, 0] <= 0.0).any())
    if at_bound:  # otherwise the bound has changed nothing
        for penalty in PENALTIES:
            scores, start = cross_fitted(lists, penalty, folds, start, _FREE)
            choices.append((penalty, _FREE, scores, start))
    losses = np.stack([lists.losses(scores) for _, _, scores, _ in choices])
    excess = losses - losses[losses.mean(axis=1).argmin()]
    allowed = [own.mean() <= standard_error(own) for own in excess]
    return choices[allowed.index(True)]


def standard_error(values: NDArray[np.float64]) -> float:
    """Standard error of the mean; infinite for a single value."""
    if len(values) < 2:
        return np.inf
    return float(values.std(ddof=1) / np.sqrt(len(values)))
