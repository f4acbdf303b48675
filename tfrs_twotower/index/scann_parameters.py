"""Parameters of a ScaNN index, and where they start from for a corpus of a given size.

Rules of ScaNN's documentation: asymmetric hashing with exact rescoring up to 100,000 candidates;
partitions (of the order of the square root of the corpus) from there on. Twice the root: on a
million planted candidates it reached the same overlap with fewer hashed scores.
"""

import math
from dataclasses import dataclass

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index.search_parameters import SearchParameters

TREE_FROM = 100_000
MIN_TREE_CANDIDATES = 100
DIMENSIONS_PER_BLOCK = 2
TRAINING_SAMPLE = 250_000
_LEAVES_PER_ROOT = 2
_LEAF_SHARES = (0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
_REORDERING_FACTORS = (1, 2, 3, 5, 10, 20, 50)
_REORDERING_FACTORS_IN_TREE = (2, 5, 20)
# Measured on one core with 64 dimensions: one exact dot product costs about 32 hashed ones.
_REORDERING_COST = 32


@dataclass(frozen=True)
class TrainingParameters:
    """What a ScaNN index is trained with."""

    num_leaves: int | None
    """Partitions; None for no tree."""
    anisotropic_quantization_threshold: float
    """T of Guo et al. 2020 (arXiv:1908.10396)."""


def cost(parameters: SearchParameters, num_candidates: int, num_leaves: int | None) -> float:
    """Rough work of one search in hashed dot products; orders choices the same every time."""
    share = (parameters.num_leaves_to_search or 1) / (num_leaves or 1)
    return share * num_candidates + _REORDERING_COST * (parameters.num_reordering_candidates or 0)


def training_parameters(config: IndexConfig, num_candidates: int) -> TrainingParameters:
    """Parameters for a corpus; a tree has at least ten candidates a leaf."""
    num_leaves = config.num_leaves
    if num_leaves is None and num_candidates >= TREE_FROM:
        num_leaves = round(_LEAVES_PER_ROOT * math.sqrt(num_candidates))
    if num_leaves is not None:
        num_leaves = min(num_leaves, num_candidates // 10)
        if num_candidates < MIN_TREE_CANDIDATES or num_leaves < 2:
            num_leaves = None
    return TrainingParameters(num_leaves, config.anisotropic_quantization_threshold)


def search_grid(
    config: IndexConfig, training: TrainingParameters, num_candidates: int
) -> list[SearchParameters]:
    """Search parameters to try, cheapest first; values that the config gives are not varied."""
    k = min(config.k, num_candidates)
    num_leaves = training.num_leaves
    leaves: list[int | None] = [None]
    if num_leaves is not None:
        given = config.num_leaves_to_search
        shares = [math.ceil(share * num_leaves) for share in _LEAF_SHARES]
        leaves = [*sorted({min(given, num_leaves)} if given else set(shares))]
    if config.num_reordering_candidates is not None:
        reordering = {config.num_reordering_candidates}
    else:
        factors = _REORDERING_FACTORS if num_leaves is None else _REORDERING_FACTORS_IN_TREE
        reordering = {factor * k for factor in factors}
    depths = sorted({min(max(depth, k), num_candidates) for depth in reordering})
    grid = [SearchParameters(k, leaf, depth) for leaf in leaves for depth in depths]
    return sorted(grid, key=lambda one: cost(one, num_candidates, num_leaves))
