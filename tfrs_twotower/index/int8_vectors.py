"""Vectors in eight bits a dimension, for a quarter of the memory of float32."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LARGEST = 127


@dataclass(frozen=True)
class Int8Vectors:
    """Rounded vectors: row r stands for `values[r] * scales[r]`."""

    values: npt.NDArray[np.int8]
    """`[num_candidates, embedding_dim]`, in row order."""
    scales: npt.NDArray[np.float32]
    """`[num_candidates]`: what one step of the row is worth."""

    def __len__(self) -> int:
        return len(self.values)


def to_int8(vectors: npt.NDArray[np.float32]) -> Int8Vectors:
    """Rounds each vector to 255 steps between plus and minus its largest component.

    Args:
        vectors: `[num_candidates, embedding_dim]`.
    """
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    scales = np.where(largest > 0, largest / _LARGEST, 1.0).astype(np.float32)
    return Int8Vectors(np.rint(vectors / scales[:, None]).astype(np.int8), scales)
