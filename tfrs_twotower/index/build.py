"""Builds an index: trains it, chooses its parameters, measures it against exact search."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.errors import IndexQualityError
from tfrs_twotower.index import exact_search, partial_search, scann_search, scann_training
from tfrs_twotower.index.ivf import IvfSearch, ivf_grid, ivf_training, train_ivf
from tfrs_twotower.index.quality import (
    IndexQuality,
    Kind,
    SearchParameters,
    median_ms,
    resolve_kind,
)
from tfrs_twotower.index.sweep import MeasuredQueries, choose, measure_overlap, sweep
from tfrs_twotower.ranking.order import ExactLists, FloatArray, Overlap

MAX_EXCLUDED = 1000
"""Exclusions of a query that a longer search compensates, unless a bundle says otherwise."""


@dataclass(frozen=True)
class TrainedIndex:
    """A trained index whose search parameters are not chosen yet."""

    kind: Kind
    arrays: dict[str, npt.NDArray[Any]]
    """The arrays that training produced."""
    grid: list[SearchParameters]
    """Search parameters to try, cheapest first."""
    training: dict[str, Any]
    """Parameters of the training, for `quality.json`."""

    def search(self, vectors: FloatArray) -> partial_search.PartialSearch:
        """The search over the vectors that were trained on, with the cheapest parameters."""
        return make_search(self.kind, vectors, self.arrays, self.grid[0])


def train(kind: Kind, vectors: FloatArray, config: IndexConfig) -> TrainedIndex:
    """Trains an approximate index.

    Args:
        kind: `scann` or `ivf`.
        vectors: `[num_candidates, embedding_dim]`, at least one.
        config: the `index` section.

    Raises:
        UnsupportedEnvironment: ScaNN is asked for and cannot be loaded.
    """
    num_candidates = len(vectors)
    if kind == "scann":
        training = scann_training.training_parameters(config, num_candidates)
        arrays = scann_training.train_scann(vectors, training, min(config.k, num_candidates))
        grid = scann_training.search_grid(config, training, num_candidates)
        return TrainedIndex(kind, arrays, grid, asdict(training))
    ivf = ivf_training(config, num_candidates)
    arrays = train_ivf(vectors, ivf.num_clusters, ivf.leaf_size)
    num_leaves = len(arrays["rows"])
    grid = ivf_grid(config, num_leaves, num_candidates)
    return TrainedIndex(kind, arrays, grid, {**asdict(ivf), "num_leaves": num_leaves})


def make_search(
    kind: Kind,
    vectors: FloatArray,
    arrays: Mapping[str, npt.NDArray[Any]],
    parameters: SearchParameters,
    max_excluded: int = MAX_EXCLUDED,
) -> partial_search.PartialSearch:
    """The search over a trained index.

    Args:
        kind: `scann` or `ivf`.
        vectors: the vectors that the index was trained on.
        arrays: the arrays that training produced.
        parameters: how much of the corpus one search looks at.
        max_excluded: number of exclusions of a query that a longer search compensates.
    """
    searches = {"scann": scann_search.ScannSearch, "ivf": IvfSearch}
    return searches[kind](vectors, arrays, parameters, max_excluded=max_excluded)


@dataclass(frozen=True)
class BuiltIndex:
    """A measured index, before it is written."""

    kind: Kind
    """Kind of the search of vectors."""
    vectors: FloatArray
    """`[num_candidates, embedding_dim]`, in row order."""
    quality: IndexQuality
    trained: dict[str, npt.NDArray[Any]] | None = None
    """Arrays of the approximate search; None for exact search."""
    parameters: SearchParameters | None = None
    """Its search parameters; None for exact search."""
    int8: bool = False
    """Whether exact search keeps its vectors in eight bits."""


def build_index(
    vectors: FloatArray,
    queries: FloatArray,
    config: IndexConfig,
    report: Callable[[str, int, int], None] = lambda *_: None,
    *,
    perturbed: FloatArray | None = None,
    to_target: bool = False,
) -> BuiltIndex:
    """Builds the configured search of vectors and measures it against exact search.

    It must reach `target_overlap` on real queries and on perturbed ones.

    Args:
        vectors: `[num_candidates, embedding_dim]` float32, in row order; at least one.
        queries: `[num_queries, embedding_dim]` float32 embeddings of real queries.
        config: the `index` section.
        report: is called with a description, the steps done, and their total.
        perturbed: `[n, embedding_dim]` embeddings of disturbed queries; by default midpoints of the
            real ones.
        to_target: whether no choice is measured beyond the one that is taken, as in a daily run.

    Raises:
        IndexQualityError: no search parameters reach `target_overlap`, or there are no queries to
            measure with.
        UnsupportedEnvironment: ScaNN is asked for and cannot be loaded.
    """
    kind = resolve_kind(config, len(vectors))
    vectors = np.ascontiguousarray(vectors, np.float32)
    measured_on = MeasuredQueries.of(
        np.ascontiguousarray(queries, np.float32), perturbed, config.most_measured(len(vectors))
    )
    sample = measured_on.real
    k = min(config.k, len(vectors))
    exact_p50_ms = _exact_p50_ms(vectors, sample, k) if len(sample) else 0.0
    if kind == "brute_force" and config.vectors == "float32":
        quality = IndexQuality(
            kind, k, 1.0, config.target_overlap, len(sample), exact_p50_ms=exact_p50_ms
        )
        return BuiltIndex(kind, vectors, quality)
    if not len(sample):
        raise IndexQualityError(
            "index: there are no embeddings of validation or test queries, and overlap is measured "
            "on real queries only. Give the split some, or set index.kind: brute_force."
        )
    if kind == "brute_force":
        return _build_int8(vectors, measured_on, config, exact_p50_ms)
    report("training the index", 0, 1)
    trained = train(kind, vectors, config)
    report("training the index", 1, 1)
    measured = sweep(
        trained.search(vectors),
        vectors,
        trained.grid,
        measured_on,
        config.target_overlap,
        lambda done, total: report("measuring", done, total),
        to_target=to_target,
    )
    best = choose(measured, config.target_overlap)
    assert best.perturbed is not None  # `choose` takes no other
    if best.least < config.target_overlap:
        tried = {key: value for key, value in asdict(best.parameters).items() if key != "k"}
        amounts = ", ".join(f"{key}={value}" for key, value in tried.items() if value)
        raise IndexQualityError(
            f"index: overlap@{k} with exact search is at most {best.least:.4f} ({amounts}; "
            f"{best.real.mean:.4f} on {len(sample)} real queries, {best.perturbed.mean:.4f} on "
            f"{len(measured_on.perturbed)} perturbed ones), the target is {config.target_overlap}. "
            f"{_advice(config)}"
        )
    return BuiltIndex(
        kind,
        vectors,
        IndexQuality(
            kind,
            k,
            best.real.mean,
            config.target_overlap,
            len(sample),
            {**trained.training, **asdict(best.parameters)},
            [measurement.as_json() for measurement in measured],
            exact_p50_ms,
            *_other_overlaps(best.real, best.perturbed),
        ),
        trained.arrays,
        best.parameters,
    )


def _other_overlaps(real: Overlap, perturbed: Overlap) -> tuple[float, float, float]:
    """The last three fields of `IndexQuality`."""
    return real.worst_decile, perturbed.mean, perturbed.worst_decile


def _advice(config: IndexConfig) -> str:
    """What a user can still do; settings that are unset cannot be unset again."""
    names = ("num_leaves_to_search", "num_reordering_candidates")
    given = [f"index.{name}" for name in names if getattr(config, name) is not None]
    free = f"Leave {' and '.join(given)} unset, or raise {'them' if given[1:] else 'it'}; or l"
    return f"{free if given else 'L'}ower index.target_overlap, or set index.kind: brute_force."


def _exact_p50_ms(vectors: FloatArray, sample: FloatArray, k: int) -> float:
    return median_ms(_rows_function(exact_search.ExactSearch(vectors), vectors.shape[1], k), sample)


def _build_int8(
    vectors: FloatArray, queries: MeasuredQueries, config: IndexConfig, exact_p50_ms: float
) -> BuiltIndex:
    k = min(config.k, len(vectors))
    find_rows = _rows_function(
        exact_search.ExactSearch(exact_search.to_int8(vectors)), vectors.shape[1], k
    )
    real, perturbed = (
        measure_overlap(find_rows, ExactLists.of(kind, vectors, k)) for kind in queries
    )
    overlap = min(real.mean, perturbed.mean)
    if overlap < config.target_overlap:
        raise IndexQualityError(
            f"index: overlap@{k} of int8 vectors with float32 is {overlap:.4f} "
            f"({real.mean:.4f} on {len(queries.real)} real queries, {perturbed.mean:.4f} on "
            f"{len(queries.perturbed)} perturbed ones), the target is {config.target_overlap}. Set "
            "index.vectors: float32, or lower index.target_overlap."
        )
    parameters = {"vectors": config.vectors, "p50_ms": median_ms(find_rows, queries.real)}
    quality = IndexQuality(
        "brute_force",
        k,
        real.mean,
        config.target_overlap,
        len(queries.real),
        parameters,
        [],
        exact_p50_ms,
        *_other_overlaps(real, perturbed),
    )
    return BuiltIndex("brute_force", vectors, quality, int8=True)


def _rows_function(
    search: exact_search.ExactSearch, dim: int, k: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    find_rows: Callable[[tf.Tensor], tf.Tensor] = tf.function(
        lambda embeddings: search.search(embeddings, k)[1],
        input_signature=[tf.TensorSpec([None, dim], tf.float32)],
        autograph=False,
    )
    return find_rows
