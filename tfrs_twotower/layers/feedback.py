"""Feedback (Rocchio 1971) in core TensorFlow operations; see `tfrs_twotower.data.feedback`."""

from typing import NamedTuple

import tensorflow as tf

from tfrs_twotower.data.feedback import HEAVY_TERMS, PASSAGES
from tfrs_twotower.data.postings import NO_TERM, Postings
from tfrs_twotower.layers.lexical import LexicalScores
from tfrs_twotower.ranking.order import MISSING_ROW


class Weighted(NamedTuple):
    """Terms of a batch of queries, each once a query."""

    terms: tf.Tensor
    """`[batch, n]` int32; -1 fills the places after the last term of a query."""
    weights: tf.Tensor
    """`[batch, n]` float32; 0 where there is no term."""


class Feedback(tf.Module):
    """Adds the words of the first passages to those of queries."""

    def __init__(self, postings: Postings, share: float) -> None:
        """Keeps the heaviest terms of each passage, 64 bytes a candidate; see `data.feedback`."""
        super().__init__(name="feedback")
        self._share, self._num_terms = share, max(len(postings.terms), 1)
        # Both have a last place, which stands for no term.
        rarities = [*postings.rarities, 0.0]
        self._rarities = tf.Variable(rarities, False, dtype=tf.float32, name="rarities")
        heavy = postings.heaviest_terms(HEAVY_TERMS)
        self._heavy = tf.Variable(heavy, False, name="heavy_terms")

    def __call__(self, scores: LexicalScores, terms: tf.Tensor) -> Weighted:
        """The terms of each query and of its first passages, whatever the query may get.

        Args:
            scores: of the same postings.
            terms: `[batch, n]` int32, as `layers.lexical.Terms` gives them.
        """
        found = scores.search(terms, PASSAGES)
        missing = found.rows == MISSING_ROW
        points = tf.where(missing, 0.0, found.scores)
        points = tf.math.divide_no_nan(points, tf.reduce_sum(points, axis=1, keepdims=True))
        heavy = tf.gather(self._heavy, tf.maximum(found.rows, 0))
        heavy = tf.where(missing[:, :, tf.newaxis], NO_TERM, heavy)
        rarities = tf.gather(self._rarities, tf.where(heavy == NO_TERM, self._num_terms, heavy))
        shape = [tf.shape(terms)[0], PASSAGES * HEAVY_TERMS]
        fed = tf.reshape(points[:, :, tf.newaxis] * rarities, shape)
        total = tf.reduce_sum(fed, axis=1, keepdims=True)
        is_term = terms != NO_TERM
        length = tf.reduce_sum(tf.cast(is_term, tf.float32), axis=1, keepdims=True)
        fed = self._share * length * tf.math.divide_no_nan(fed, total)
        own = tf.where(total > 0.0, 1.0 - self._share, 1.0) * tf.cast(is_term, tf.float32)
        return self._joined(
            tf.concat([terms, tf.reshape(heavy, shape)], axis=1), tf.concat([own, fed], axis=1)
        )

    def _joined(self, terms: tf.Tensor, weights: tf.Tensor) -> Weighted:
        """Adds the weights of a term that a query has several times."""
        places = tf.where(terms != NO_TERM)
        keys = places[:, 0] * self._num_terms + tf.cast(tf.gather_nd(terms, places), tf.int64)
        distinct, place = tf.unique(keys)
        sums = tf.math.unsorted_segment_sum(tf.gather_nd(weights, places), place, tf.size(distinct))

        def of_queries(values: tf.Tensor) -> tf.RaggedTensor:
            return tf.RaggedTensor.from_value_rowids(
                values, distinct // self._num_terms, tf.shape(terms, tf.int64)[0], validate=False
            )

        joined = of_queries(tf.cast(distinct % self._num_terms, tf.int32))
        return Weighted(joined.to_tensor(NO_TERM), of_queries(sums).to_tensor(0.0))
