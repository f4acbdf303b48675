"""Fits the weighted sum of the cascade: a listwise softmax on queries that nobody learned from."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

_PENALTY = 1e-4
_ROUNDING = 1e-9


def fit_combination(
    features: NDArray[np.floating], relevant: NDArray[np.bool_], present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Weights of a linear score that puts relevant candidates first.

    Minimises, over the queries with a relevant candidate in their pool, the mean of

        - 1 / |R| sum_{j in R} log( e^{w x_j} / (e^{w x_j} + sum_{i not in R} e^{w x_i}) )

    plus a small L2 penalty on the weights of features that were standardised inside their pools:
    convex and smooth, so L-BFGS finds the one minimum. Each positive competes with the irrelevant
    candidates only. What a feature adds to all of a pool changes nothing.

    Args:
        features: `[num_queries, pool, num_features]`.
        relevant: `[num_queries, pool]`.
        present: `[num_queries, pool]`, false at the padding of a short pool.

    Returns:
        `[num_features]` weights of the features as they are. The first feature alone (weight 1)
        where no query has both a relevant and an irrelevant candidate.
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
    # Rounding aside, such a feature is the same for a whole pool: it is left out.
    spread[spread <= _ROUNDING * largest] = np.inf
    x /= spread
    irrelevant = present & ~relevant
    owner, place = np.nonzero(relevant)
    share = 1.0 / relevant.sum(axis=1)[owner] / len(x)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = x @ weights
        others = np.where(irrelevant, scores, -np.inf)
        largest = others.max(axis=1)
        odds = np.exp(others - largest[:, None])
        total = odds.sum(axis=1)
        log_rest = largest + np.log(total)
        mean_rest = np.einsum("qn,qnf->qf", odds / total[:, None], x)
        own = scores[owner, place]
        gap = log_rest[owner] - own
        value = share @ np.logaddexp(0.0, gap) + _PENALTY * weights @ weights
        wrong = share * expit(gap)
        slope = wrong @ (mean_rest[owner] - x[owner, place]) + 2.0 * _PENALTY * weights
        return float(value), slope

    start = np.eye(num_features)[0]
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x) / spread
