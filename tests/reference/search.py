"""Oracle of exact search with exclusions, with loops on purpose."""

from collections.abc import Mapping, Sequence

import numpy as np

LOWEST = float(np.finfo(np.float32).min)


def search(
    query: np.ndarray, vectors: np.ndarray, ids: Sequence[str], excluded: Sequence[str], k: int
) -> tuple[list[str], list[float]]:
    """Ids and scores of the k best candidates that are not excluded, padded with "" and LOWEST."""
    scored = []
    for row, candidate_id in enumerate(ids):
        if candidate_id not in excluded:
            score = sum(float(a) * float(b) for a, b in zip(query, vectors[row], strict=True))
            scored.append((-score, row))
    best = sorted(scored)[:k]
    padding = k - len(best)
    best_ids = [ids[row] for _, row in best] + [""] * padding
    return best_ids, [-score for score, _ in best] + [LOWEST] * padding


def passes(values: Mapping[str, Sequence[str]], allow: Sequence[str], deny: Sequence[str]) -> bool:
    """Whether restricts admit a candidate with these values of each declared feature."""
    own = {
        f"{name}={value}"
        for name, feature_values in values.items()
        for value in feature_values
        if value
    }
    if any(token in own for token in deny):
        return False
    allowed: dict[str, set[str]] = {}
    for token in allow:
        if token:
            allowed.setdefault(token.split("=")[0] if "=" in token else "", set()).add(token)
    return all(name in values and own & tokens for name, tokens in allowed.items())
