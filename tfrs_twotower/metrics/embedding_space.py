"""The shape of two towers' embeddings: alignment and uniformity, spread, hubness.

Alignment and uniformity are those of Wang & Isola (ICML 2020). NumPy only: training measures the
towers with `embedding_health` while they learn, the evaluation describes them when they are done.
"""

import numpy as np
from numpy.typing import NDArray

UNIFORMITY_T = 2.0
_HEALTH_PAIRS = 2_000


def alignment(queries: NDArray[np.floating], candidates: NDArray[np.floating]) -> float:
    """Mean squared distance of positive pairs; 0 is perfect.

    Args:
        queries: `[num_pairs, embedding_dim]`.
        candidates: `[num_pairs, embedding_dim]`; row i is relevant to query i.
    """
    return float(np.square(queries - candidates).sum(axis=1).mean())


def uniformity(vectors: NDArray[np.floating], t: float = UNIFORMITY_T) -> float:
    """Log of the mean of exp(-t |x - y|^2) over all pairs of different rows.

    0 is a collapsed cloud; points spread evenly over the sphere reach `ideal_uniformity`.

    Args:
        vectors: `[num_vectors, embedding_dim]`, unit length, at least two.
        t: sharpness.
    """
    cosine = np.asarray(vectors, np.float64) @ np.asarray(vectors, np.float64).T
    exponents = (-t * np.maximum(2.0 - 2.0 * cosine, 0.0))[np.triu_indices(len(vectors), 1)]
    return _log_mean_exp(exponents, shift=exponents.max())


def uniformity_of_pairs(
    first: NDArray[np.float64], second: NDArray[np.float64], t: float = UNIFORMITY_T
) -> float:
    """`uniformity` over given pairs, `[num_pairs, embedding_dim]` each."""
    exponents = -t * np.square(first - second).sum(axis=1)
    # Unit vectors have exponents of -4 t to 0, which need no shift.
    return _log_mean_exp(exponents, shift=0.0)


def ideal_uniformity(embedding_dim: int, t: float = UNIFORMITY_T) -> float:
    """What points spread evenly over the sphere reach, to second order in t / embedding_dim."""
    return -2 * t + 2 * t**2 / embedding_dim


def effective_rank(vectors: NDArray[np.floating]) -> float:
    """Exp of the entropy of the normalised singular values (Roy & Vetterli 2007): 1 .. dim."""
    columns = np.asarray(vectors, np.float64)
    power = np.linalg.eigvalsh(columns.T @ columns)
    singular = np.sqrt(np.maximum(power, 1e-12 * max(float(power[-1]), 0.0)))
    weights = singular[singular > 0] / max(float(singular.sum()), 1e-300)
    return float(np.exp(-(weights * np.log(weights)).sum())) if len(weights) else 0.0


def mean_cosine(vectors: NDArray[np.floating]) -> float:
    """Mean cosine of pairs of different rows: 0 without a preferred direction, 1 collapsed."""
    count = len(vectors)
    total = float(np.square(np.asarray(vectors, np.float64).sum(axis=0)).sum())
    own = float(np.square(np.asarray(vectors, np.float64)).sum())
    return (total - own) / (count * (count - 1))


def hubness(ranked: NDArray[np.integer], k: int, num_candidates: int) -> float:
    """Skewness of the number of lists of k that hold a candidate (Radovanovic et al. 2010)."""
    rows = ranked[:, :k]
    counts = np.bincount(rows[rows >= 0], minlength=num_candidates).astype(np.float64)
    centred = counts - counts.mean()
    spread = float(np.sqrt(np.square(centred).mean()))
    return float((centred**3).mean() / spread**3) if spread > 0 else 0.0


def embedding_health(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    positives: NDArray[np.integer],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Diagnostics of a query and a candidate matrix, on a fixed sample of candidate pairs.

    The candidates need not have unit length.

    Args:
        queries: `[num_queries, embedding_dim]`.
        candidates: `[num_candidates, embedding_dim]`, at least 2.
        positives: `[num_queries]` row of one relevant candidate of each query.
        seed: seed of the sample.

    Returns:
        `mean_norm` of the candidates; `mean_cosine` of random candidate pairs (0 is ideal, 1 is a
        collapse); `alignment` over the relevant pairs; `uniformity` over the random pairs.
    """
    random = np.random.default_rng(seed)
    first = random.integers(0, len(candidates), _HEALTH_PAIRS)
    # An offset below the size never pairs a candidate with itself.
    second = (first + random.integers(1, len(candidates), _HEALTH_PAIRS)) % len(candidates)
    one, other = candidates[first].astype(np.float64), candidates[second].astype(np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return {
        "mean_norm": float(np.linalg.norm(candidates, axis=1).mean()),
        "mean_cosine": float(((one * other).sum(axis=1) / np.maximum(norms, 1e-12)).mean()),
        "alignment": alignment(queries.astype(np.float64), candidates[positives]),
        "uniformity": uniformity_of_pairs(one, other),
    }


def _log_mean_exp(exponents: NDArray[np.float64], shift: float) -> float:
    return float(shift + np.log(np.exp(exponents - shift).mean()))
