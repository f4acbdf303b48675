"""The shape of the two towers' embeddings (Wang & Isola 2020; methods of anisotropy, hubness)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics import GroundTruth

_SAMPLE = 2_000
TEMPERATURE = 2.0


def alignment(queries: NDArray[np.floating], candidates: NDArray[np.floating]) -> float:
    """Mean squared distance of positive pairs: row i of both belong together. 0 is perfect."""
    return float(np.square(queries - candidates).sum(axis=1).mean())


def uniformity(vectors: NDArray[np.floating], t: float = TEMPERATURE) -> float:
    """Log of the mean of exp(-t |x - y|^2) over pairs of different rows.

    0 is a collapsed cloud; points spread evenly over the sphere reach about -2 t + 2 t^2 / d.

    Args:
        vectors: `[num_vectors, embedding_dim]`, unit length, at least two.
        t: sharpness.
    """
    cosine = np.asarray(vectors, np.float64) @ np.asarray(vectors, np.float64).T
    exponent = -t * np.maximum(2.0 - 2.0 * cosine, 0.0)
    above = exponent[np.triu_indices(len(vectors), 1)]
    peak = above.max()
    return float(peak + np.log(np.exp(above - peak).mean()))


def effective_rank(vectors: NDArray[np.floating]) -> float:
    """Exp of the entropy of the normalised singular values (Roy & Vetterli 2007): 1 .. dim."""
    columns = np.asarray(vectors, np.float64)
    power = np.linalg.eigvalsh(columns.T @ columns)
    singular = np.sqrt(np.maximum(power, 1e-12 * max(float(power[-1]), 0.0)))
    share = singular[singular > 0] / max(float(singular.sum()), 1e-300)
    return float(np.exp(-(share * np.log(share)).sum())) if len(share) else 0.0


def mean_cosine(vectors: NDArray[np.floating]) -> float:
    """Mean cosine of pairs of different rows: 0 without a preferred direction, 1 collapsed."""
    count = len(vectors)
    total = float(np.square(np.asarray(vectors, np.float64).sum(axis=0)).sum())
    own = float(np.square(np.asarray(vectors, np.float64)).sum())
    return (total - own) / (count * (count - 1))


def hubness(ranked: NDArray[np.integer], k: int, num_candidates: int) -> float:
    """Skewness of how often each candidate stands in a list of k (Radovanovic et al. 2010)."""
    rows = ranked[:, :k]
    counts = np.bincount(rows[rows >= 0], minlength=num_candidates).astype(np.float64)
    centred = counts - counts.mean()
    spread = float(np.sqrt(np.square(centred).mean()))
    return float((centred**3).mean() / spread**3) if spread > 0 else 0.0


def describe(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    truth: GroundTruth,
    ranked: NDArray[np.int64],
    *,
    k: int,
    seed: int,
) -> dict[str, Any]:
    """All figures, on at most 2,000 vectors of each side.

    Args:
        queries: `[num_queries, embedding_dim]`.
        candidates: `[num_candidates, embedding_dim]`.
        truth: relevant candidates of the queries.
        ranked: the retrieval's lists.
        k: list length of hubness.
        seed: of the samples.
    """
    generator = np.random.default_rng(seed)
    pairs = sample(len(truth.gains), _SAMPLE, generator)
    owners, rows = truth.relevant.owners[pairs], truth.relevant.values[pairs]
    query_part = queries[sample(len(queries), _SAMPLE, generator)]
    candidate_part = candidates[sample(len(candidates), _SAMPLE, generator)]
    gap = query_part.mean(axis=0, dtype=np.float64) - candidate_part.mean(axis=0, dtype=np.float64)
    result: dict[str, Any] = {
        "embedding_dim": int(candidates.shape[1]),
        "alignment": alignment(queries[owners], candidates[rows]) if len(pairs) else None,
        "positive_cosine": (
            float((queries[owners] * candidates[rows]).sum(axis=1).mean()) if len(pairs) else None
        ),
        "centroid_distance": float(np.linalg.norm(gap)),
        f"hubness_skewness@{k}": hubness(ranked, k, len(candidates)),
        "ideal_uniformity": -2 * TEMPERATURE + 2 * TEMPERATURE**2 / candidates.shape[1],
    }
    for name, part in (("queries", query_part), ("candidates", candidate_part)):
        result[name] = _cloud(part)
    return result


def sample(population: int, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Sorted positions, all of them where there are no more than `size`."""
    if population <= size:
        return np.arange(population, dtype=np.int64)
    return np.sort(generator.choice(population, size, replace=False)).astype(np.int64)


def _cloud(vectors: NDArray[np.float32]) -> dict[str, float | int | None]:
    several = len(vectors) > 1
    return {
        "vectors": len(vectors),
        "uniformity": uniformity(vectors) if several else None,
        "mean_cosine": mean_cosine(vectors) if several else None,
        "effective_rank": effective_rank(vectors),
        "mean_vector_norm": float(np.linalg.norm(vectors.mean(axis=0, dtype=np.float64))),
    }
