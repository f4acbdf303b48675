"""NumPy oracle of late interaction (Khattab and Zaharia, SIGIR 2020), with loops on purpose."""

import numpy as np


def score(query_tokens, candidate_tokens, weights=None):
    """Weighted mean over query tokens of the largest cosine with a candidate token.

    Args:
        query_tokens: a vector for each token that is there.
        candidate_tokens: the same; without any the score is 0.
        weights: of the query tokens; equal by default.
    """
    weights = np.ones(len(query_tokens)) if weights is None else np.asarray(weights)
    total = 0.0
    for weight, query in zip(weights, query_tokens, strict=True):
        best = -np.inf
        for candidate in candidate_tokens:
            cosine = query @ candidate / np.linalg.norm(query) / np.linalg.norm(candidate)
            best = max(best, cosine)
        total += weight / weights.sum() * best if len(candidate_tokens) else 0.0
    return total
