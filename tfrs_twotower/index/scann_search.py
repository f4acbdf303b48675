"""ScaNN's TensorFlow operations, and approximate search with them that is safe to serve."""

import ctypes
import hashlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.environment import how_to_install
from tfrs_twotower.errors import MissingExtra, UnsupportedEnvironment
from tfrs_twotower.index import exact_search, partial_search, quality
from tfrs_twotower.ranking.order import FloatArray

_USES_AVX2 = "_ZN14research_scann14flags_internal15should_use_avx2E"
_AVX2_KERNELS_NEED = frozenset({"avx2", "fma"})
_PROCESSOR = Path("/proc/cpuinfo")
_NO_TREE = -1
_STRINGS = frozenset({"scann_config", "serialized_partitioner", "ah_codebook"})


@cache
def load_scann() -> Any:
    """ScaNN's TensorFlow operations; the library is loaded and set up once.

    Raises:
        UnsupportedEnvironment: ScaNN is not installed, or its operations do not fit TensorFlow.
    """
    try:
        from scann.scann_ops.py import scann_ops
    except ModuleNotFoundError as cause:
        raise MissingExtra(
            f"ScaNN is not installed ({cause}), and an index of kind scann needs it. Install the "
            f"extra [scann]: {how_to_install('scann')} (Linux x86-64 with AVX2 only); or set "
            "index.server: stock, or index.kind: brute_force."
        ) from cause
    except Exception as cause:
        raise UnsupportedEnvironment(
            f"ScaNN's operations do not load: {cause}. The version of ScaNN must fit that of "
            "TensorFlow: install 'scann[tf]', or set index.kind: brute_force."
        ) from cause
    flag = avx2_flag(library_of(scann_ops))
    if flag is not None and _processor_features() >= _AVX2_KERNELS_NEED:
        flag.value = True
    return scann_ops


def library_of(scann_ops: Any) -> Path:
    """The shared object that the operations come from."""
    return Path(scann_ops.__file__).parents[1] / "cc" / "_scann_ops.so"


def avx2_flag(library: Path) -> ctypes.c_bool | None:
    """ScaNN's own switch for its AVX2 kernels; None for a version of ScaNN without such a switch.

    Args:
        library: the shared object of its operations, which must be loaded.
    """
    try:
        return ctypes.c_bool.in_dll(ctypes.CDLL(str(library), os.RTLD_NOLOAD), _USES_AVX2)
    except (OSError, ValueError):
        return None


def _processor_features() -> frozenset[str]:
    """Instruction sets that programs may use; empty if the system does not list them."""
    try:
        lines = _PROCESSOR.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = (line.partition(":")[2] for line in lines if line.startswith("flags"))
    return frozenset(next(flags, "").split())


class ScannSearch(partial_search.PartialSearch):
    """ScaNN (Guo et al. 2020) with exclusions, restricts and complete lists."""

    def __init__(
        self,
        vectors: FloatArray,
        trained: Mapping[str, npt.NDArray[Any]],
        parameters: quality.SearchParameters,
        *,
        max_excluded: int = 1000,
    ) -> None:
        """Puts trained arrays into variables.

        Args:
            vectors: `[num_candidates, embedding_dim]`, the vectors that `trained` was trained on.
            trained: arrays of `scann_training.train_scann`.
            parameters: how much of the corpus one search looks at.
            max_excluded: number of exclusions of a query that a longer search compensates.
        """
        super().__init__(
            "scann_search", exact_search.ExactSearch(vectors), parameters, max_excluded
        )
        load_scann()
        self.trained = {
            name: tf.Variable(_tensor(name, value), trainable=False, name=name)
            for name, value in trained.items()
        }
        self._shared_name = _content_name(vectors, trained)

    def near(
        self, embeddings: tf.Tensor, depth: tf.Tensor | int, parameters: quality.SearchParameters
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
        rows, scores = scann_ops.ScannSearcher(handle).search_batched(
            embeddings,
            final_num_neighbors=depth,
            pre_reorder_num_neighbors=tf.clip_by_value(rescored, depth, self.num_candidates),
            leaves_to_search=_NO_TREE if leaves is None else leaves,
        )
        return scores, rows  # ScaNN pads a list with rows whose score is NaN


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
