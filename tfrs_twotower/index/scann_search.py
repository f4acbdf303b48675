"""Approximate search with ScaNN's TensorFlow operations, made safe to serve."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.index.answers import contains, count_distinct, order
from tfrs_twotower.index.exact import LOWEST_SCORE, MISSING_ROW, FloatArray
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.scann_parameters import SearchParameters
from tfrs_twotower.index.scann_training import load_scann

NO_TREE = -1
_STRINGS = frozenset({"scann_config", "serialized_partitioner", "ah_codebook"})


class ScannSearch(tf.Module):
    """ScaNN (Guo et al. 2020), with what its operations leave to the caller.

    Excluded candidates are made up for by a longer search. What ScaNN pads with (NaN, row 0) is
    dropped. A batch in which a list would stay short although candidates remain (few partitions
    searched), or that excludes more than `max_excluded`, is answered by exact search instead.
    """

    is_exact = False

    def __init__(
        self,
        vectors: FloatArray,
        trained: Mapping[str, npt.NDArray[Any]],
        parameters: SearchParameters,
        *,
        max_excluded: int = 1000,
    ) -> None:
        """Takes over trained arrays.

        Args:
            vectors: `[num_candidates, embedding_dim]`, those that `trained` was trained on.
            trained: arrays of `scann_training.train_scann`.
            parameters: how much to look at.
            max_excluded: exclusions of a query that a longer search makes up for.
        """
        super().__init__(name="scann_search")
        load_scann()
        self.exact = ExactSearch(vectors)
        self.trained = {
            name: tf.Variable(_tensor(name, value), trainable=False, name=name)
            for name, value in trained.items()
        }
        self._parameters = parameters
        self._max_excluded = max_excluded
        self._shared_name = _content_name(vectors, trained)

    @property
    def num_candidates(self) -> int:
        """Candidates in the corpus."""
        return self.exact.num_candidates

    def search(
        self, embeddings: tf.Tensor, k: int, excluded_rows: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Search.search`."""
        return self.search_with(
            embeddings,
            k,
            excluded_rows,
            num_leaves=self._parameters.num_leaves_to_search or NO_TREE,
            num_reordered=self._parameters.num_reordering_candidates,
        )

    def search_with(
        self,
        embeddings: tf.Tensor,
        k: int,
        excluded_rows: tf.Tensor | None = None,
        *,
        num_leaves: tf.Tensor | int,
        num_reordered: tf.Tensor | int,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `search`, looking at other amounts; both may be scalar int32 tensors.

        Args:
            embeddings: `[batch, embedding_dim]`.
            k: list length.
            excluded_rows: `[batch, n]`, or None.
            num_leaves: partitions to search, or `NO_TREE`.
            num_reordered: candidates to score exactly, for the parameters' own k.
        """
        if excluded_rows is None:
            excluded_rows = tf.fill([tf.shape(embeddings)[0], 0], MISSING_ROW)
        excluded = tf.sort(excluded_rows, axis=1)
        num_excluded = count_distinct(excluded)
        most_excluded = tf.reduce_max(tf.concat([num_excluded, [0]], axis=0))
        depth = k + tf.minimum(most_excluded, self._max_excluded)
        depth = tf.minimum(depth, self.num_candidates)
        # ScaNN fails on a NaN; one query's must not fail the batch.
        sound = tf.reduce_all(tf.math.is_finite(embeddings), axis=1, keepdims=True)
        scores, rows = self.search_near(
            tf.where(sound, embeddings, 0.0), depth, num_leaves, num_reordered
        )
        keep = tf.logical_and(rows != MISSING_ROW, ~contains(excluded, rows))
        keep = tf.logical_and(keep, sound)
        scores = tf.where(keep, scores, LOWEST_SCORE)
        rows = tf.where(keep, rows, MISSING_ROW)
        num_found = tf.reduce_sum(tf.cast(keep, tf.int32), axis=1)
        remaining = tf.minimum(k, self.num_candidates - num_excluded)
        short = tf.reduce_any(tf.logical_and(num_found < remaining, sound[:, 0]))
        return tf.cond(
            tf.logical_or(short, most_excluded > self._max_excluded),
            lambda: self.exact.search(embeddings, k, excluded_rows),
            lambda: order(scores, rows, k),
        )

    def search_near(
        self,
        embeddings: tf.Tensor,
        depth: tf.Tensor | int,
        num_leaves: tf.Tensor | int,
        num_reordered: tf.Tensor | int,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """ScaNN's own answer, its padding marked as missing; in no set order.

        Args:
            embeddings: `[batch, embedding_dim]`.
            depth: candidates to find; the number that is scored exactly grows with it.
            num_leaves: partitions to search, or `NO_TREE`.
            num_reordered: candidates to score exactly at the parameters' own k.

        Returns:
            Scores and rows `[batch, at most depth]`.
        """
        scann_ops = load_scann()
        state = self.trained
        # Without a name of its own, ScaNN's kernel may answer from an index that another object
        # made earlier in the same process.
        handle = scann_ops.tensors_to_scann(
            self.exact.vectors,
            state["scann_config"],
            state["serialized_partitioner"],
            state["datapoint_to_token"],
            state["ah_codebook"],
            state["hashed_dataset"],
            state["int8_dataset"],
            state["int8_multipliers"],
            state["dp_norms"],
            shared_name=self._shared_name,
        )
        growth = tf.cast(depth, tf.float32) / self._parameters.k
        rescored = tf.cast(tf.math.ceil(growth * tf.cast(num_reordered, tf.float32)), tf.int32)
        found = scann_ops.ScannSearcher(handle).search_batched(
            embeddings,
            final_num_neighbors=depth,
            pre_reorder_num_neighbors=tf.clip_by_value(rescored, depth, self.num_candidates),
            leaves_to_search=num_leaves,
        )
        rows, scores = found[0], found[1]
        real = tf.math.is_finite(scores)
        return tf.where(real, scores, LOWEST_SCORE), tf.where(real, rows, MISSING_ROW)


def _content_name(vectors: FloatArray, trained: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(vectors).data)
    for name in sorted(trained):
        digest.update(trained[name].tobytes())
    return f"scann_{digest.hexdigest()[:32]}"


def _tensor(name: str, value: npt.NDArray[Any]) -> tf.Tensor:
    if name not in _STRINGS:
        return tf.constant(value)
    text = value.tobytes()
    # ScaNN writes an absent string as a scalar and a present one as a vector of one.
    return tf.constant([text] if text else text, tf.string)
