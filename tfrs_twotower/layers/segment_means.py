"""Means of a table's rows over the segments that the rows' ids belong to."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower.layers.hiding import UNKNOWN_ROW
from tfrs_twotower.layers.initial import WeightMaker


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
