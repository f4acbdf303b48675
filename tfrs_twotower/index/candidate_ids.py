"""Candidate ids in the graph: ids of rows, and rows of ids."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrs_twotower.index.exact import MISSING_ROW


class CandidateIds(tf.Module):
    """Both directions of the mapping between a candidate's id and its row.

    Row -1 has the id "" (or -1, where ids are integers); an unknown id has row -1.
    """

    def __init__(self, ids: Any, lookup_file: Path | None = None) -> None:
        """Keeps the ids in a variable and a lookup table.

        Args:
            ids: `[num_candidates]` strings or integers, in row order.
            lookup_file: a text file of the same string ids, one a line. Given, the exported graph
                carries it as an asset; else the table's keys are constants of the graph, which a
                SavedModel limits to 2 GB.
        """
        super().__init__(name="candidate_ids")
        keys = tf.convert_to_tensor(ids)
        if keys.dtype == tf.int32:
            keys = tf.cast(keys, tf.int64)
        missing = tf.constant([""]) if keys.dtype == tf.string else tf.constant([-1], keys.dtype)
        self._ids = tf.Variable(tf.concat([keys, missing], axis=0), trainable=False, name="ids")
        rows = tf.range(tf.shape(keys)[0])
        if lookup_file is None:
            initializer: Any = tf.lookup.KeyValueTensorInitializer(keys, rows)
            self._rows = tf.lookup.StaticHashTable(initializer, MISSING_ROW)
        else:
            initializer = tf.lookup.TextFileInitializer(
                str(lookup_file),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
                vocab_size=int(keys.shape[0]),
            )
            self._rows = tf.lookup.StaticHashTable(initializer, MISSING_ROW)

    def ids_of(self, rows: tf.Tensor) -> tf.Tensor:
        """Ids of rows, of the same shape."""
        last = tf.shape(self._ids)[0] - 1
        return tf.gather(self._ids, tf.where(rows == MISSING_ROW, last, rows))

    def rows_of(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows int32 of ids, of the same shape."""
        if ids.dtype == tf.int32:
            ids = tf.cast(ids, tf.int64)
        return tf.cast(self._rows.lookup(ids), tf.int32)
