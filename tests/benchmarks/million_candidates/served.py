"""The cascade as it is served: a bundle version, run the way a model server runs it."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from serving.graph.names import CANDIDATE_IDS, EXCLUDE_IDS, SERVING_DEFAULT
from tests.benchmarks.million_candidates.cascades import NUMBER


class Threads(NamedTuple):
    """As TensorFlow Serving's `--tensorflow_inter_op_parallelism`, `--tensorflow_intra_op_...`."""

    inter_op: int
    """Threads that operations are spread over: 0 one a core, -1 the caller's alone."""
    intra_op: int
    """Threads that one operation is spread over: 0 one a core."""


def use_threads(threads: Threads) -> None:
    """To be called first: what runs first decides for the process how operations are spread."""
    if threads.intra_op:
        tf.config.threading.set_intra_op_parallelism_threads(threads.intra_op)


class Session:
    """A SavedModel in a session, which is what TensorFlow Serving makes of it.

    NumPy arrays go in and come out: what a server adds (protocol buffers, a network, batching) is
    not in the times, as it is not in the peers'. Signatures are asked as callables of TensorFlow's
    C++ session, because `Session.run` spends a quarter of a millisecond in Python, which no server
    does.
    """

    def __init__(self, directory: Path, threads: Threads) -> None:
        """Loads a SavedModel; its operations must be registered.

        Args:
            directory: of the SavedModel.
            threads: that it may use.
        """
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        graph = tf.Graph()
        with graph.as_default():
            config = tf.compat.v1.ConfigProto(
                inter_op_parallelism_threads=threads.inter_op,
                intra_op_parallelism_threads=threads.intra_op,
            )
            self._session = tf.compat.v1.Session(graph=graph, config=config)
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(directory))
        self._signatures = loaded.signature_def

    def function(self, signature: str, inputs: list[str], outputs: list[str]) -> Any:
        """A signature as a function of arrays."""
        of = self._signatures[signature]
        options = CallableOptions(
            feed=[of.inputs[name].name for name in inputs],
            fetch=[of.outputs[name].name for name in outputs],
        )
        return self._session._make_callable_from_options(options)

    def close(self) -> None:
        """Gives the memory back."""
        self._session.close()


class Served:
    """A bundle version that answers queries by number."""

    def __init__(self, version: Path, threads: Threads) -> None:
        self._ask = Session(version, threads).function(
            SERVING_DEFAULT, [NUMBER, EXCLUDE_IDS], [CANDIDATE_IDS, "scores"]
        )

    def ask(self, queries: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Candidate ids `[len(queries), k]`."""
        nothing = np.full((len(queries), 1), b"", object)
        ids: npt.NDArray[Any] = self._ask(queries.astype(np.float32), nothing)[0]
        return ids
