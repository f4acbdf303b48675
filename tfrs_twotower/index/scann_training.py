"""Training a ScaNN index into arrays that are the same for the same vectors.

ScaNN's own state is not: partitions that start from random points are numbered differently in
each run, and tensors that a configuration does not use hold uninitialised memory. Here partitions
start by k-means++ (ScaNN seeds it), one thread trains, and unused tensors are set to zero.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from tfrs_twotower.index.exact import FloatArray
from tfrs_twotower.index.scann_library import load_scann
from tfrs_twotower.index.scann_parameters import (
    DIMENSIONS_PER_BLOCK,
    TRAINING_SAMPLE,
    TrainingParameters,
)

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
"""Of ScaNN's tensors, those beside the vectors themselves."""
_MIN_PARTITION = 10


def train_scann(
    vectors: FloatArray, parameters: TrainingParameters, k: int
) -> dict[str, npt.NDArray[Any]]:
    """Trains hashing and, with `num_leaves`, partitions.

    Args:
        vectors: `[num_candidates, embedding_dim]` unit vectors, at least one.
        parameters: what to train.
        k: the default list length.

    Returns:
        The arrays of `TRAINED_TENSORS`; strings are uint8 arrays.
    """
    scann_ops = load_scann()
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
        anisotropic_quantization_threshold=parameters.anisotropic_quantization_threshold,
        training_sample_size=sample,
    ).reorder(min(2 * k, len(vectors)))
    state = builder.build().serialize_to_module()
    return {name: _settled(getattr(state, name)) for name in TRAINED_TENSORS}


def _settled(variable: Any) -> npt.NDArray[Any]:
    value = variable.numpy()
    if isinstance(value, bytes):
        return np.frombuffer(value, np.uint8)
    if value.dtype == object:
        return np.frombuffer(value.reshape(-1)[0], np.uint8)
    return value if value.ndim else np.zeros((), value.dtype)  # a scalar is an unused tensor
