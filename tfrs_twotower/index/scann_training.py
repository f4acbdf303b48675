"""Parameters of a ScaNN index, and its training into arrays; equal vectors give equal arrays."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index import quality, scann_search
from tfrs_twotower.ranking.order import FloatArray

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
TRAINED_TENSORS = (
    "scann_config",
    "serialized_partitioner",
    "datapoint_to_token",
    "ah_codebook",
    "hashed_dataset",
    "int8_dataset",
    "int8_multipliers",
    "dp_norms",
)
"""ScaNN's tensors, without the vectors themselves."""
_MIN_PARTITION = 10


@dataclass(frozen=True)
class TrainingParameters:
    """Parameters of the training of a ScaNN index."""

    num_leaves: int | None
    """Partitions; None for no tree."""
    anisotropic_quantization_threshold: float
    """Threshold above which quantisation weighs errors parallel to the vector more (T of Guo et al.
    2020, arXiv:1908.10396)."""


def cost(
    parameters: quality.SearchParameters, num_candidates: int, num_leaves: int | None
) -> float:
    """Estimated work of one search, in hashed dot products; unlike a time, it never varies."""
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
) -> list[quality.SearchParameters]:
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
    grid = [quality.SearchParameters(k, leaf, depth) for leaf in leaves for depth in depths]
    return sorted(grid, key=lambda choice: cost(choice, num_candidates, num_leaves))


def train_scann(
    vectors: FloatArray, parameters: TrainingParameters, k: int
) -> dict[str, npt.NDArray[Any]]:
    """Trains hashing and, with `num_leaves`, partitions.

    Args:
        vectors: `[num_candidates, embedding_dim]`, at least one, of any length. The threshold is
            meant for unit vectors and compared with inner products, so it grows with theirs.
        parameters: what to train.
        k: the default list length.

    Returns:
        The arrays of `TRAINED_TENSORS`; strings are uint8 arrays.
    """
    scann_ops = scann_search.load_scann()
    length = round(float(np.sqrt(np.square(vectors).sum(axis=1).mean())), 3)
    builder = scann_ops.builder(vectors, min(k, len(vectors)), "dot_product")
    builder = builder.set_n_training_threads(1)
    sample = min(len(vectors), TRAINING_SAMPLE)
    if parameters.num_leaves is not None:
        builder = builder.tree(
            num_leaves=parameters.num_leaves,
            num_leaves_to_search=parameters.num_leaves,
            training_sample_size=sample,
            min_partition_size=_MIN_PARTITION,
            random_init=False,
        )
    builder = builder.score_ah(
        DIMENSIONS_PER_BLOCK,
        anisotropic_quantization_threshold=length * parameters.anisotropic_quantization_threshold,
        training_sample_size=sample,
    ).reorder(min(2 * k, len(vectors)))
    state = builder.build().serialize_to_module()
    return {name: _as_array(getattr(state, name)) for name in TRAINED_TENSORS}


def _as_array(variable: Any) -> npt.NDArray[Any]:
    value = variable.numpy()
    if isinstance(value, bytes):
        return np.frombuffer(value, np.uint8)
    if value.dtype == object:
        return np.frombuffer(value.reshape(-1)[0], np.uint8)
    return value if value.ndim else np.zeros((), value.dtype)  # a scalar is an unused tensor
