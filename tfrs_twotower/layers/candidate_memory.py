"""Stored means: candidate embeddings over a history, and table rows over a segment."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower.layers import embedding_tables, seeded
from tfrs_twotower.specs import UNKNOWN_ROW


class CandidateMemory(tf.Module):
    """The last known embedding of each candidate id, one row `[embedding_dim]` each, not trained.

    The mean over a history replaces the vector that DAT learns for a query: with fixed towers, the
    minimum of the mimic loss is the mean of the candidate embeddings of the query's positives.
    Unlike a learned vector, the history does not contain the example's own target.

    Rows that were never written are zero and are left out of every mean.
    """

    def __init__(self, weights: seeded.WeightMaker, feature: str, num_rows: int, dim: int) -> None:
        """Makes an empty memory.

        Args:
            weights: makes the variable.
            feature: name of the candidate's id feature.
            num_rows: number of rows of the lookup of the ids.
            dim: dimension of the embeddings.
        """
        super().__init__(name="memory")
        self._feature = feature
        self._rows = weights.state("memory", [num_rows, dim])

    def mean(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Averages the memory over histories of candidate ids.

        Args:
            history: `[batch, max_length]` int32; events that the memory does not know are left out.

        Returns:
            Means `[batch, dim]`, zero for a history without a known event, and boolean `[batch]`:
            whether the history has a known event.
        """
        ids, position = tf.unique(tf.reshape(history, [-1]))
        written = tf.reduce_any(tf.gather(self._rows, ids) != 0.0, axis=1)
        known = tf.reshape(tf.gather(written, position), tf.shape(history))
        return embedding_tables.mean_of_rows(self._rows, tf.where(known, history, 0))

    def update(self, tokens: Mapping[str, tf.Tensor], embeddings: tf.Tensor) -> None:
        """Writes the embeddings of some candidates; a candidate that occurs twice gets the mean.

        Args:
            tokens: `[columns, ...]` of the candidate tower; unknown ids are left out.
            embeddings: `[columns, dim]`.
        """
        ids, position = tf.unique(tokens[self._feature])
        means = tf.math.unsorted_segment_mean(tf.stop_gradient(embeddings), position, tf.size(ids))
        known = ids > UNKNOWN_ROW
        self._rows.scatter_update(
            tf.IndexedSlices(tf.boolean_mask(means, known), tf.boolean_mask(ids, known))
        )

    def replace(self, tokens: Mapping[str, tf.Tensor], embeddings: tf.Tensor) -> None:
        """Forgets everything and writes the embeddings of the whole corpus.

        Args:
            tokens: `[num_candidates, ...]` of the candidate tower.
            embeddings: `[num_candidates, dim]`.
        """
        ids = tokens[self._feature]
        known = ids > UNKNOWN_ROW
        self._rows.assign(
            tf.math.unsorted_segment_mean(
                tf.boolean_mask(embeddings, known),
                tf.boolean_mask(ids, known),
                self._rows.shape[0],
            )
        )


class SegmentMeans(tf.Module):
    """A substitute for the row of an unknown id: the mean row of its segment's known ids.

    An id counts once in each segment in which it occurs, however many examples it has, because an
    unknown id stands for one more id, not for one more event. `compute_means` computes the means
    from the current table. Only the means are saved, so they are right after a restart even if
    the members are not set again.
    """

    def __init__(
        self,
        weights: seeded.WeightMaker,
        table: tf.Variable,
        *,
        id_feature: str,
        segment_feature: str,
        num_segments: int,
    ) -> None:
        """Starts with means of zero, which count as unknown.

        Args:
            weights: makes the variable.
            table: `[num_rows, dim]`.
            id_feature: name of the feature whose tokens are rows of the table.
            segment_feature: name of the feature whose tokens are segments.
            num_segments: number of rows of the lookup of the segments.
        """
        super().__init__(name="segments")
        self._table = table
        self._id_feature = id_feature
        self._segment_feature = segment_feature
        self._means = weights.state("segments", [num_segments, table.shape[1]])
        self._members = np.zeros([2, 0], np.int32)

    def __call__(self, tokens: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns means `[batch, dim]`, and boolean `[batch]`: whether the segment has a mean."""
        means = tf.gather(self._means, tokens[self._segment_feature])
        return means, tf.reduce_any(means != 0.0, axis=1)

    def set_members(self, tokens: Mapping[str, ArrayLike]) -> None:
        """Sets which ids belong to which segment; earlier members are forgotten.

        Args:
            tokens: `[num_examples, ...]` of the side's tower, of all training examples.
        """
        segments = np.asarray(tokens[self._segment_feature])
        ids = np.asarray(tokens[self._id_feature])
        known = (segments > UNKNOWN_ROW) & (ids > UNKNOWN_ROW)
        self._members = np.unique(np.stack([segments[known], ids[known]]), axis=1)

    def compute_means(self) -> None:
        """Computes the means from the table; without members they do not change."""
        segments, ids = self._members
        if len(ids):
            rows = tf.gather(self._table, ids)
            self._means.assign(tf.math.unsorted_segment_mean(rows, segments, self._means.shape[0]))
