"""Whether the embedding space is sound: norms, spread, alignment (Wang and Isola, ICML 2020)."""

import numpy as np
from numpy.typing import NDArray

_NUM_PAIRS = 2000
_UNIFORMITY_T = 2.0


def embedding_health(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    positives: NDArray[np.integer],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Diagnostics of a query and a candidate matrix, on a fixed sample of pairs.

    Args:
        queries: `[num_queries, embedding_dim]`.
        candidates: `[num_candidates, embedding_dim]`, at least 2.
        positives: `[num_queries]` row of one relevant candidate of each query.
        seed: of the sample.

    Returns:
        `mean_norm` of the candidates; `mean_cosine` of random candidate pairs (0 is ideal, 1 is a
        collapse); `alignment`, the mean of |q - c|^2 over relevant pairs (0 is ideal);
        `uniformity`, log of the mean of exp(-2 |c - c'|^2) over random pairs (0 is a collapse,
        -4 + 8 / embedding_dim about the least).
    """
    random = np.random.default_rng(seed)
    first = random.integers(0, len(candidates), _NUM_PAIRS)
    # An offset below the size: a candidate is never paired with itself.
    second = (first + random.integers(1, len(candidates), _NUM_PAIRS)) % len(candidates)
    one, other = candidates[first].astype(np.float64), candidates[second].astype(np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    distance = ((one - other) ** 2).sum(axis=1)
    apart = queries.astype(np.float64) - candidates[positives]
    return {
        "mean_norm": float(np.linalg.norm(candidates, axis=1).mean()),
        "mean_cosine": float(((one * other).sum(axis=1) / np.maximum(norms, 1e-12)).mean()),
        "alignment": float((apart**2).sum(axis=1).mean()),
        "uniformity": float(np.log(np.exp(-_UNIFORMITY_T * distance).mean())),
    }
