"""Approximate search with ScaNN's TensorFlow operations, made safe to serve."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.index.exact import FloatArray
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.partial_search import PartialSearch
from tfrs_twotower.index.scann_library import load_scann
from tfrs_twotower.index.search_parameters import SearchParameters

_NO_TREE = -1
_STRINGS = frozenset({"scann_config", "serialized_partitioner", "ah_codebook"})


class ScannSearch(PartialSearch):
    """ScaNN (Guo et al. 2020), with what its operations leave to the caller."""

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
        super().__init__("scann_search", ExactSearch(vectors), parameters, max_excluded)
        load_scann()
        self.trained = {
            name: tf.Variable(_tensor(name, value), trainable=False, name=name)
            for name, value in trained.items()
        }
        self._shared_name = _content_name(vectors, trained)

    def near(
        self, embeddings: tf.Tensor, depth: tf.Tensor | int, parameters: SearchParameters
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `PartialSearch.near`; what is scored exactly grows with the depth."""
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
        leaves = parameters.num_leaves_to_search
        reordered = tf.cast(parameters.num_reordering_candidates, tf.float32)
        growth = tf.cast(depth, tf.float32) / parameters.k
        rescored = tf.cast(tf.math.ceil(growth * reordered), tf.int32)
        found = scann_ops.ScannSearcher(handle).search_batched(
            embeddings,
            final_num_neighbors=depth,
            pre_reorder_num_neighbors=tf.clip_by_value(rescored, depth, self.num_candidates),
            leaves_to_search=_NO_TREE if leaves is None else leaves,
        )
        return found[1], found[0]  # what ScaNN pads with has the score NaN


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
