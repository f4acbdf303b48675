"""Names and shapes of what a bundle takes and returns, and the towers behind them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.data.raw_inputs import RawBatch, missing_value, raw_signature
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers import protocol, tower

SERVING_DEFAULT = "serving_default"
CANDIDATE_GENERATION = "candidate_generation"
PRE_RANKING = "pre_ranking"
QUERY_EMBEDDING = "query_embedding"
CANDIDATE_EMBEDDING = "candidate_embedding"
SERVING_EXAMPLES = "serving_examples"

EXCLUDE_IDS = "exclude_ids"
ALLOW = "allow"
DENY = "deny"
LISTS = (EXCLUDE_IDS, ALLOW, DENY)
EXAMPLES = "examples"
CANDIDATE_IDS = "candidate_ids"
SCORES = "scores"
EMBEDDING = "embedding"
MODEL_VERSION = "model_version"

MISSING_NUMBER = -1e38
"""A number of at most this is missing, as NaN is, which most writers of JSON cannot write."""
_REQUIRED = (EXAMPLES, CANDIDATE_IDS, EMBEDDING)


def list_inputs(*, restricts: bool) -> dict[str, tf.TensorSpec]:
    """Inputs beside the query features: `exclude_ids`, `allow` and `deny`, each `[batch, n]`.

    Any column may hold an id or a token, and "" stands for none. Where a server batches requests,
    it pads those that are narrower than the widest with the first element of their own tensor:
    clients send "" there, or the first query's entry would count for every query of the request.

    Args:
        restricts: whether the bundle has attributes that `allow` and `deny` can name.
    """
    list_names = LISTS if restricts else (EXCLUDE_IDS,)
    return {name: tf.TensorSpec([None, None], tf.string, name=name) for name in list_names}


def listed_candidates() -> dict[str, tf.TensorSpec]:
    """The input of `pre_ranking` beside the query features: `candidate_ids` `[batch, n]`."""
    return {CANDIDATE_IDS: tf.TensorSpec([None, None], tf.string, name=CANDIDATE_IDS)}


def example_inputs() -> dict[str, tf.TensorSpec]:
    """The input of `serving_examples`: serialized `tf.train.Example`s `[batch]`."""
    return {EXAMPLES: tf.TensorSpec([None], tf.string, name=EXAMPLES)}


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
        return tf.identity(inputs[EMBEDDING])


def query_vectors(embedding_dim: int) -> protocol.TowerPair:
    """No towers: the one input is the query's vector, `embedding` `[batch, embedding_dim]`."""
    embedding = tf.TensorSpec([None, embedding_dim], tf.float32, name=EMBEDDING)
    return protocol.TowerPair(_GivenVector(), query_inputs={EMBEDDING: embedding})
