"""Embeds records in memory with a tower; the Beam stage embeds its batches with the same class."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from tfrs_twotower.errors import EmbeddingError

# Normalising a vector of norm zero cannot make it one of norm 1.
_LEAST_UNIT_NORM = 0.5
_NAMED_ROWS = 10


class BatchEmbedder:
    """A tower as one function of the graph, for batches of any size."""

    def __init__(self, tower: Callable[[Any], tf.Tensor], signature: Any) -> None:
        """Traces the function.

        Args:
            tower: raw features `[batch, ...]` to embeddings `[batch, embedding_dim]`.
            signature: `tf.TensorSpec`s of the features, in the structure that the tower takes.
        """
        self._tower = tower  # owns the variables that the function reads
        self._unit_length = bool(getattr(tower, "unit_length", False))
        self._embed = tf.function(
            lambda raw: tf.cast(tower(raw), tf.float32),
            input_signature=[signature],
            autograph=False,
        ).get_concrete_function()

    def __call__(self, raw: Any) -> NDArray[np.float32]:
        """Embeddings `[batch, embedding_dim]` of one batch."""
        vectors: NDArray[np.float32] = self._embed(raw).numpy()
        return vectors

    def unusable(self, vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of these embeddings are NaN, infinite or of norm zero; `[batch]`."""
        return unusable(vectors, unit_length=self._unit_length)


def unusable(vectors: NDArray[np.float32], *, unit_length: bool) -> NDArray[np.bool_]:
    """Which embeddings are NaN, infinite or of norm zero; `[batch]`.

    Args:
        vectors: `[batch, embedding_dim]`.
        unit_length: whether their tower normalises, so that a short one is one of norm zero.
    """
    norms = np.linalg.norm(vectors, axis=1)
    long_enough = norms >= _LEAST_UNIT_NORM if unit_length else norms > 0.0
    return ~(np.isfinite(norms) & long_enough)


def embed(
    tower: Callable[[Any], tf.Tensor],
    features: Mapping[str, Any] | ArrayLike,
    *,
    batch_size: int = 512,
) -> NDArray[np.float32]:
    """Embeds records that are in memory.

    Args:
        tower: a tower, or any model or callable from raw features `[batch, ...]` to embeddings
            `[batch, embedding_dim]`.
        features: `[num_records, ...]`, in the form that the tower takes: by name, or one array.
            Numbers with a fraction are passed on as float32.
        batch_size: number of records in one forward pass.

    Returns:
        `[num_records, embedding_dim]` float32, in the order of the records.

    Raises:
        EmbeddingError: an embedding is NaN, infinite or of norm zero.
        ValueError: there are no records, or the features are not equally long.
    """
    columns: Any = (
        {name: _column(values) for name, values in features.items()}
        if isinstance(features, Mapping)
        else _column(features)
    )
    lengths = {len(column) for column in tf.nest.flatten(columns)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"the features have {sorted(lengths)} records; give one or more, and as many for each "
            "feature"
        )
    specs = tf.nest.map_structure(_spec, columns)
    embedder = BatchEmbedder(tower, specs)
    num_records = lengths.pop()
    parts = []
    for start in range(0, num_records, batch_size):
        rows = slice(start, start + batch_size)
        batch = tf.nest.map_structure(
            lambda column, spec, rows=rows: tf.constant(column[rows], spec.dtype), columns, specs
        )
        parts.append(embedder(batch))
    vectors = np.concatenate(parts)
    unusable = np.flatnonzero(embedder.unusable(vectors))
    if len(unusable):
        shown = ", ".join(map(str, unusable[:_NAMED_ROWS].tolist()))
        raise EmbeddingError(
            f"found {len(unusable)} of {num_records} embeddings that are NaN, infinite or of norm "
            f"zero, those of the records {shown}{', ...' if len(unusable) > _NAMED_ROWS else ''}. "
            "A vector without a direction cannot be searched for: look for missing or extreme "
            "numbers among these records' features, and at the training loss."
        )
    return vectors


def _column(values: Any) -> NDArray[Any]:
    column = np.asarray(values)
    return column.astype(np.float32) if column.dtype.kind == "f" else column


def _spec(column: NDArray[Any]) -> tf.TensorSpec:
    dtype = tf.string if column.dtype.kind in "OSU" else tf.as_dtype(column.dtype)
    return tf.TensorSpec([None, *column.shape[1:]], dtype)
