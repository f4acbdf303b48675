"""Shapes of what a bundle takes, and the towers behind its features."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.graph import names
from tfrs_twotower.data.raw_inputs import RawBatch, missing_value, raw_signature
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers import protocol, tower

_REQUIRED = (names.EXAMPLES, names.CANDIDATE_IDS, names.EMBEDDING)


def list_inputs(*, restricts: bool) -> dict[str, tf.TensorSpec]:
    """Inputs beside the query features: `exclude_ids`, `allow` and `deny`, each `[batch, n]`.

    Any column may hold an id or a token, and "" stands for none. Where a server batches requests,
    it pads those that are narrower than the widest with the first element of their own tensor:
    clients send "" there, or the first query's entry would count for every query of the request.

    Args:
        restricts: whether the bundle has attributes that `allow` and `deny` can name.
    """
    list_names = names.LISTS if restricts else (names.EXCLUDE_IDS,)
    return {name: tf.TensorSpec([None, None], tf.string, name=name) for name in list_names}


def listed_candidates() -> dict[str, tf.TensorSpec]:
    """The input of `pre_ranking` beside the query features: `candidate_ids` `[batch, n]`."""
    return {names.CANDIDATE_IDS: tf.TensorSpec([None, None], tf.string, name=names.CANDIDATE_IDS)}


def example_inputs() -> dict[str, tf.TensorSpec]:
    """The input of `serving_examples`: serialized `tf.train.Example`s `[batch]`."""
    return {names.EXAMPLES: tf.TensorSpec([None], tf.string, name=names.EXAMPLES)}


def defaults(inputs: Mapping[str, tf.TensorSpec]) -> dict[str, npt.NDArray[Any]]:
    """What stands for inputs that a request leaves out: missing values for one query.

    A signature has no default for what it is asked about: Examples, listed candidates, a vector.

    Args:
        inputs: those of a signature.

    Returns:
        Arrays `[1]` or `[1, width]` by name; a free width is 1.
    """
    return {
        name: np.full(
            [1, *(width or 1 for width in spec.shape[1:])],
            missing_value(spec.dtype),
            spec.dtype.as_numpy_dtype,
        )
        for name, spec in inputs.items()
        if name not in _REQUIRED
    }


def trained_towers(towers: tower.Towers, spec: FeatureSpec) -> protocol.TowerPair:
    """The towers of this package, which take the raw features of a feature spec."""
    return protocol.TowerPair(
        towers.query,
        towers.candidate,
        query_inputs=raw_signature(spec.query.features),
        candidate_inputs=raw_signature(spec.candidate.features),
    )


class _GivenVector(tf.Module):
    """Stands in for a query tower where requests bring the query's vector."""

    def __call__(self, inputs: RawBatch) -> tf.Tensor:
        return tf.identity(inputs[names.EMBEDDING])


def query_vectors(embedding_dim: int) -> protocol.TowerPair:
    """No towers: the one input is the query's vector, `embedding` `[batch, embedding_dim]`."""
    embedding = tf.TensorSpec([None, embedding_dim], tf.float32, name=names.EMBEDDING)
    return protocol.TowerPair(_GivenVector(), query_inputs={names.EMBEDDING: embedding})
