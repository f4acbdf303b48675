"""Towers of this project, and bare query vectors, as the `TwoTowers` that a bundle is made from.

A candidate's score is the inner product of its vector with the query's, and nothing here normalises
either. Who wants cosines normalises inside both towers.
"""

import tensorflow as tf

from serving.graph.signatures import EMBEDDING
from tfrs_twotower.data.raw_inputs import RawBatch, raw_signature
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.protocol import TowerPair
from tfrs_twotower.towers.tower import Towers


def trained_towers(towers: Towers, spec: FeatureSpec) -> TowerPair:
    """The towers of this package, which take the raw features of a feature spec."""
    return TowerPair(
        towers.query,
        towers.candidate,
        query_inputs=raw_signature(spec.query.features),
        candidate_inputs=raw_signature(spec.candidate.features),
    )


class _GivenVector(tf.Module):
    """Stands for a query tower where a request brings the query's vector."""

    def __call__(self, inputs: RawBatch) -> tf.Tensor:
        return tf.identity(inputs[EMBEDDING])


def query_vectors(embedding_dim: int) -> TowerPair:
    """No towers: the one input is the query's vector, `embedding` `[batch, embedding_dim]`."""
    taken = tf.TensorSpec([None, embedding_dim], tf.float32, name=EMBEDDING)
    return TowerPair(_GivenVector(), query_inputs={EMBEDDING: taken})
