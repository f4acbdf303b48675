"""Builds the index of a corpus and measures it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.errors import IndexQualityError
from tfrs_twotower.index.exact import FloatArray
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.quality import IndexQuality, median_ms
from tfrs_twotower.index.scann_parameters import (
    SearchParameters,
    resolve_kind,
    search_grid,
    training_parameters,
)
from tfrs_twotower.index.scann_training import train_scann
from tfrs_twotower.index.sweep import choose, sample_queries, sweep


@dataclass(frozen=True)
class BuiltIndex:
    """A measured index, before it is written."""

    vectors: FloatArray
    """`[num_candidates, embedding_dim]`, in row order."""
    quality: IndexQuality
    trained: dict[str, npt.NDArray[Any]] | None = None
    """ScaNN's arrays; None for exact search."""
    parameters: SearchParameters | None = None
    """ScaNN's search parameters; None for exact search."""


def build_index(
    vectors: FloatArray,
    queries: FloatArray,
    config: IndexConfig,
    report: Callable[[str, int, int], None] = lambda *_: None,
) -> BuiltIndex:
    """Builds the configured kind of index and measures it against exact search.

    Args:
        vectors: `[num_candidates, embedding_dim]` float32, unit length, in row order; at least one.
        queries: `[num_queries, embedding_dim]` float32 embeddings of real queries.
        config: the `index` section.
        report: is told what is done: description, done, total.

    Raises:
        IndexQualityError: no search parameters reach `target_overlap`, or nothing to measure with.
        UnsupportedEnvironment: ScaNN is asked for and cannot be loaded.
    """
    kind = resolve_kind(config, len(vectors))
    vectors = np.ascontiguousarray(vectors, np.float32)
    sample = sample_queries(np.ascontiguousarray(queries, np.float32), config.num_measured_queries)
    k = min(config.k, len(vectors))
    exact_p50_ms = _exact_p50_ms(vectors, sample, k) if len(sample) else 0.0
    if kind == "brute_force":
        quality = IndexQuality(
            kind, k, 1.0, config.target_overlap, len(sample), exact_p50_ms=exact_p50_ms
        )
        return BuiltIndex(vectors, quality)
    if not len(sample):
        raise IndexQualityError(
            "index: found no embeddings of validation or test queries, and overlap is measured on "
            "real queries only. Give the split some, or set index.kind: brute_force."
        )
    return _build_scann(vectors, sample, config, exact_p50_ms, report)


def _exact_p50_ms(vectors: FloatArray, sample: FloatArray, k: int) -> float:
    search = ExactSearch(vectors)
    ask = tf.function(
        lambda embeddings: search.search(embeddings, k)[1],
        input_signature=[tf.TensorSpec([1, vectors.shape[1]], tf.float32)],
        autograph=False,
    )
    return median_ms(ask, sample)


def _build_scann(
    vectors: FloatArray,
    sample: FloatArray,
    config: IndexConfig,
    exact_p50_ms: float,
    report: Callable[[str, int, int], None],
) -> BuiltIndex:
    training = training_parameters(config, len(vectors))
    report("training the index", 0, 1)
    trained = train_scann(vectors, training, min(config.k, len(vectors)))
    report("training the index", 1, 1)
    grid = search_grid(config, training, len(vectors))
    measured = sweep(
        vectors, trained, grid, sample, lambda done, total: report("measuring", done, total)
    )
    best = choose(measured, config.target_overlap)
    if best.overlap < config.target_overlap:
        raise IndexQualityError(
            f"index: overlap@{grid[0].k} with exact search is at most {best.overlap:.4f} "
            f"(num_leaves_to_search={best.parameters.num_leaves_to_search}, "
            f"num_reordering_candidates={best.parameters.num_reordering_candidates}, "
            f"{len(sample)} queries), the target is {config.target_overlap}. Leave "
            "index.num_leaves_to_search and index.num_reordering_candidates unset, or raise them; "
            "or lower index.target_overlap; or set index.kind: brute_force."
        )
    quality = IndexQuality(
        "scann",
        grid[0].k,
        best.overlap,
        config.target_overlap,
        len(sample),
        {**asdict(training), **asdict(best.parameters)},
        [one.as_json() for one in measured],
        exact_p50_ms,
    )
    return BuiltIndex(vectors, quality, trained, best.parameters)
