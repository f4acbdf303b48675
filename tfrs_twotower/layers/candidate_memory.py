"""Means of what is remembered: candidate outputs over a history, table rows over a segment."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower.layers.hiding import UNKNOWN_ROW
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.tables import mean_of_rows


class CandidateMemory(tf.Module):
    """A row `[embedding_dim]` for each candidate id: its last known embedding, never trained.

    The mean over a history stands for the vector that DAT learns for a query: for fixed towers the
    least of the mimic loss is the mean of the candidate embeddings of the query's positives. The
    history lacks the example's own target, which a learned vector has seen.

    Rows that nothing was written to are zero and have no part in a mean.
    """

    def __init__(self, weights: WeightMaker, feature: str, num_rows: int, dim: int) -> None:
        """Makes an empty memory.

        Args:
            weights: makes its variable.
            feature: the candidate's id feature.
            num_rows: of the ids' lookup.
            dim: of the embeddings.
        """
        super().__init__(name="memory")
        self._feature = feature
        self._rows = weights.state("memory", [num_rows, dim])

    def mean(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Means over histories of candidate ids.

        Args:
            history: `[batch, max_length]` int32; events that the memory does not know are left out.

        Returns:
            `[batch, dim]`, zero where there is nothing to average, and boolean `[batch]`: whether
            there is.
        """
        ids, place = tf.unique(tf.reshape(history, [-1]))
        written = tf.reduce_any(tf.gather(self._rows, ids) != 0.0, axis=1)
        known = tf.reshape(tf.gather(written, place), tf.shape(history))
        return mean_of_rows(self._rows, tf.where(known, history, 0))

    def update(self, tokens: Mapping[str, tf.Tensor], embeddings: tf.Tensor) -> None:
        """Writes some candidates' embeddings; of one that stands there twice, the mean.

        Args:
            tokens: `[columns, ...]` of the candidate tower; unknown ids are left out.
            embeddings: `[columns, dim]`.
        """
        ids, place = tf.unique(tokens[self._feature])
        means = tf.math.unsorted_segment_mean(tf.stop_gradient(embeddings), place, tf.size(ids))
        known = ids > UNKNOWN_ROW
        self._rows.scatter_update(
            tf.IndexedSlices(tf.boolean_mask(means, known), tf.boolean_mask(ids, known))
        )

    def replace(self, tokens: Mapping[str, tf.Tensor], embeddings: tf.Tensor) -> None:
        """Forgets everything and writes the corpus's embeddings.

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
    """What an unknown id is likely to be: the mean row of the known ids of its segment.

    Each id counts once in each segment that it was met in, however many examples it has: an
    unknown id is one more id, not one more event. The means are computed from the table as it is
    (`settle`); only they are saved, so they are right after a restart whatever was missed.
    """

    def __init__(
        self,
        weights: WeightMaker,
        table: tf.Variable,
        *,
        id_feature: str,
        segment_feature: str,
        num_segments: int,
    ) -> None:
        """Makes means of zero, which count as not known.

        Args:
            weights: makes the variable.
            table: `[num_rows, dim]`.
            id_feature: whose tokens are rows of the table.
            segment_feature: whose tokens are segments.
            num_segments: rows of the segments' lookup.
        """
        super().__init__(name="segments")
        self._table = table
        self._id_feature = id_feature
        self._segment_feature = segment_feature
        self._means = weights.state("segments", [num_segments, table.shape[1]])
        self._members = np.zeros([2, 0], np.int32)

    def __call__(self, tokens: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Means `[batch, dim]`, and whether there is one, boolean `[batch]`."""
        means = tf.gather(self._means, tokens[self._segment_feature])
        return means, tf.reduce_any(means != 0.0, axis=1)

    def enrol(self, tokens: Mapping[str, ArrayLike]) -> None:
        """Notes which id belongs to which segment; replaces what was noted before.

        Args:
            tokens: `[num_examples, ...]` of the side's tower, all of them.
        """
        segments = np.asarray(tokens[self._segment_feature])
        ids = np.asarray(tokens[self._id_feature])
        known = (segments > UNKNOWN_ROW) & (ids > UNKNOWN_ROW)
        self._members = np.unique(np.stack([segments[known], ids[known]]), axis=1)

    def settle(self) -> None:
        """Computes the means from the table; without members they stay as they are."""
        segments, ids = self._members
        if len(ids):
            rows = tf.gather(self._table, ids)
            self._means.assign(tf.math.unsorted_segment_mean(rows, segments, self._means.shape[0]))
