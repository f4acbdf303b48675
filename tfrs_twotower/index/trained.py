"""Approximate indexes by kind: training one, and searching what was trained."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy.typing as npt

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index.ivf import IvfSearch, ivf_grid, ivf_training, train_ivf
from tfrs_twotower.index.partial_search import PartialSearch
from tfrs_twotower.index.quality import Kind, SearchParameters
from tfrs_twotower.index.scann_search import ScannSearch
from tfrs_twotower.index.scann_training import search_grid, train_scann, training_parameters
from tfrs_twotower.ranking.exact import FloatArray

MAX_EXCLUDED = 1000
"""Exclusions of a query that a longer search makes up for, unless a bundle says otherwise."""


@dataclass(frozen=True)
class Trained:
    """A trained index whose search parameters are not chosen yet."""

    kind: Kind
    arrays: dict[str, npt.NDArray[Any]]
    """The arrays that training produced."""
    grid: list[SearchParameters]
    """Search parameters to try, cheapest first."""
    described: dict[str, Any]
    """What it was trained with, for `quality.json`."""

    def search(self, vectors: FloatArray) -> PartialSearch:
        """The search over the vectors that were trained on, with the cheapest parameters."""
        return make_search(self.kind, vectors, self.arrays, self.grid[0])


def train(kind: Kind, vectors: FloatArray, config: IndexConfig) -> Trained:
    """Trains an approximate index.

    Args:
        kind: `scann` or `ivf`.
        vectors: `[num_candidates, embedding_dim]` unit vectors, at least one.
        config: the `index` section.

    Raises:
        UnsupportedEnvironment: ScaNN is asked for and cannot be loaded.
    """
    num_candidates = len(vectors)
    if kind == "scann":
        training = training_parameters(config, num_candidates)
        arrays = train_scann(vectors, training, min(config.k, num_candidates))
        grid = search_grid(config, training, num_candidates)
        return Trained(kind, arrays, grid, asdict(training))
    ivf = ivf_training(config, num_candidates)
    arrays = train_ivf(vectors, ivf.num_clusters, ivf.leaf_size)
    num_leaves = len(arrays["rows"])
    grid = ivf_grid(config, num_leaves, num_candidates)
    return Trained(kind, arrays, grid, {**asdict(ivf), "num_leaves": num_leaves})


def make_search(
    kind: Kind,
    vectors: FloatArray,
    arrays: Mapping[str, npt.NDArray[Any]],
    parameters: SearchParameters,
    max_excluded: int = MAX_EXCLUDED,
) -> PartialSearch:
    """The search over a trained index.

    Args:
        kind: `scann` or `ivf`.
        vectors: those that the index was trained on.
        arrays: those that training produced.
        parameters: how much of the corpus one search looks at.
        max_excluded: exclusions of a query that a longer search makes up for.
    """
    searches = {"scann": ScannSearch, "ivf": IvfSearch}
    return searches[kind](vectors, arrays, parameters, max_excluded=max_excluded)
