"""The project's indexes as things that can be tuned."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tests.benchmarks.million_candidates.re_scoring import Rows
from tests.benchmarks.million_candidates.world import Floats
from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index.build import make_search, train
from tfrs_twotower.index.quality import Kind, SearchParameters

_SCANN_SHARES = (0.01, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2)
_IVF_SHARES = (0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)


class OwnIndex:
    """An approximate index in a graph whose search parameters are inputs."""

    def __init__(
        self, kind: Kind, vectors: Floats, arrays: Mapping[str, npt.NDArray[Any]], k: int
    ) -> None:
        self.kind, self.arrays, self._k = kind, arrays, k
        search = make_search(kind, vectors, arrays, self._parameters(1, k))
        self._ask: Callable[..., Any] = tf.function(
            lambda queries, leaves, depth: search.search(
                queries, k, parameters=self._parameters(leaves, depth)
            ),
            input_signature=[
                tf.TensorSpec([None, vectors.shape[1]], tf.float32),
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([], tf.int32),
            ],
            autograph=False,
        )
        self._effort = (tf.constant(1), tf.constant(k))

    def set(self, effort: tuple[int, int], threads: int) -> None:
        del threads  # TensorFlow's are the process's
        self._effort = (tf.constant(effort[0]), tf.constant(effort[1]))

    def find(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        assert k == self._k
        scores, rows = self._ask(queries, *self._effort)
        return rows.numpy().astype(np.int64), scores.numpy()

    def save(self, path: Path) -> None:
        np.savez(path, **self.arrays)

    def parameters(self, effort: tuple[int, int]) -> SearchParameters:
        """For the index that is exported."""
        return self._parameters(*effort)

    def _parameters(self, leaves: Any, depth: Any) -> SearchParameters:
        return SearchParameters(self._k, leaves, depth if self.kind == "scann" else None)


def train_own(kind: Kind, vectors: Floats, k: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an index with the project's default training parameters."""
    return train(kind, vectors, IndexConfig(kind=kind, k=k)).arrays


def efforts_of(kind: Kind, arrays: Mapping[str, npt.NDArray[Any]], k: int) -> Sequence[Any]:
    """Leaves to search, and candidates that ScaNN scores exactly."""
    if kind == "ivf":
        num_leaves = len(arrays["rows"])
        return [(max(1, round(share * num_leaves)), 0) for share in _IVF_SHARES]
    num_leaves = int(arrays["datapoint_to_token"].max()) + 1
    leaves = [max(1, round(share * num_leaves)) for share in _SCANN_SHARES]
    return [(number, factor * k) for number in leaves for factor in (1, 2, 3, 5)]
