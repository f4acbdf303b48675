"""Embeds candidates outside Beam: the few that a refresh brings."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.errors import EmbeddingError
from tfrs_twotower.index.exact import FloatArray
from tfrs_twotower.towers.tower import Tower

_BATCH_SIZE = 512
# Towers return unit vectors; normalising a vector of norm zero cannot make it one.
_LEAST_NORM = 0.5
RawColumns = dict[str, npt.NDArray[Any]]


class EncodedCandidates(NamedTuple):
    """What a candidate tower makes of candidates."""

    vectors: FloatArray
    """`[n, embedding_dim]`, unit length."""
    heads: FloatArray | None
    """`[n, num_candidate_heads, head_dim]` of an IntTower; else None."""


def encode_candidates(tower: Tower, raw: RawColumns) -> EncodedCandidates:
    """Runs a candidate tower over raw features.

    Args:
        tower: of the candidate side.
        raw: `[n]` or `[n, width]` by name, n at least 1.

    Raises:
        EmbeddingError: a vector is not finite, or has norm zero.
    """
    count = len(next(iter(raw.values())))
    vectors, heads = [], []
    for start in range(0, count, _BATCH_SIZE):
        part = {
            name: tf.constant(values[start : start + _BATCH_SIZE]) for name, values in raw.items()
        }
        output = tower.encode(tower.inputs(part))
        vectors.append(output.embedding.numpy())
        if output.heads is not None:
            heads.append(output.heads.numpy())
    joined = np.concatenate(vectors)
    norms = np.linalg.norm(joined, axis=1)
    bad = int((~(np.isfinite(norms) & (norms >= _LEAST_NORM))).sum())
    if bad:
        raise EmbeddingError(
            f"refresh: {bad} of {count} embeddings are NaN, infinite or of norm zero. Look for "
            "extreme numbers among the given candidates' features."
        )
    return EncodedCandidates(joined, np.concatenate(heads) if heads else None)
