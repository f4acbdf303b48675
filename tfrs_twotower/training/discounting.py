"""Fits the weighted sum of the cascade once more, for the first places of its lists.

The loss of `combination` counts a relevant candidate as much at place 200 as at place 2. nDCG
discounts it by 1 / log2(1 + place), and so does this fit: it weighs each relevant candidate by the
discount at the place that the weights before gave it, and repeats that. Every step is convex again.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.training import combination
from tfrs_twotower.training.combination import Bounds, Combined, Lists

_ROUNDS = 2


def discounts_of(scores: NDArray[np.floating], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`[num_queries, pool]` 1 / log2(1 + place) of each candidate, the best score at place 1.

    Args:
        scores: `[num_queries, pool]`; of equal ones the first is the better.
        present: `[num_queries, pool]`, false at the padding, which comes last.
    """
    order = np.argsort(-np.where(present, scores, -np.inf), axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(1, order.shape[1] + 1)[None, :], axis=1)
    return np.asarray(1.0 / np.log2(1.0 + places))


def fit_discounted(
    lists: Lists, penalty: float, start: NDArray[np.float64], retrieval: Bounds
) -> NDArray[np.float64]:
    """Weights `[num_features]` of the discounted loss, from those of the plain one."""
    anchor, weights = lists.retrieval_alone(), start
    for _ in range(_ROUNDS):
        discounts = discounts_of(lists.scores(weights), lists.present)
        weights = lists.fit(penalty, anchor, weights, retrieval, discounts)
    return weights


def refine(
    combined: Combined,
    features: NDArray[np.floating],
    relevant: NDArray[np.bool_],
    present: NDArray[np.bool_],
    per_query: combination.PerQuery,
) -> Combined:
    """Replaces fitted weights by discounted ones where they raise the metric.

    Both are compared out of fold: each query is scored by weights of the other folds. The gain has
    to be larger than its standard error, because what lies deep in the lists may lose.

    Args:
        combined: result of `combination.combine` on the same features; where it keeps retrieval's
            order, it is returned.
        features: `[num_queries, pool, num_features]`, the retrieval score first.
        relevant: `[num_queries, pool]`.
        present: `[num_queries, pool]`, false at the padding of a short pool.
        per_query: the metric that decides.
    """
    if combined.out_of_fold is None or combined.of_queries is None:
        return combined
    lists = Lists.of(features, relevant, present)
    folds = combination.folds_of(lists.usable)
    finite = np.where(np.isfinite(lists.spread), lists.spread, 0.0)
    penalty = float(combined.facts["penalty"])
    signs = np.append(combined.of_queries[:, 0], combined.weights[0])
    bounds: Bounds = (None, None) if signs.min() < 0 else (0.0, None)
    scores = np.zeros_like(combined.out_of_fold)
    of_queries = np.zeros_like(combined.of_queries)
    for fold in np.unique(folds):
        held_out = folds == fold
        start = combined.of_queries[held_out][0] * finite
        weights = fit_discounted(lists.take(~held_out), penalty, start, bounds)
        scores[held_out] = lists.take(held_out).scores(weights)
        of_queries[held_out] = weights / lists.spread
    differences = per_query(scores) - per_query(combined.out_of_fold)
    gain, error = float(differences.mean()), combination.standard_error(differences)
    facts = {
        **combined.facts,
        "discount_gain": round(gain, 6),
        "discount_gain_standard_error": round(error, 6),
    }
    if gain <= error:
        return replace(combined, facts={**facts, "loss": "plain"})
    weights = fit_discounted(lists, penalty, combined.weights * finite, bounds) / lists.spread
    return Combined(weights, scores, {**facts, "loss": "discounted"}, of_queries)
