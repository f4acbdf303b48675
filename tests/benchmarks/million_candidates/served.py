"""The cascade as it is served: a bundle version, run the way a model server runs it."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.signatures import CANDIDATE_IDS, EXCLUDE_IDS, SERVING_DEFAULT
from tests.benchmarks.million_candidates.cascades import NUMBER


class Session:
    """A SavedModel in a session, which is what TensorFlow Serving makes of it.

    NumPy arrays go in and come out: what a server adds (protocol buffers, a network, batching) is
    not in the times, as it is not in the peers'.
    """

    def __init__(self, directory: Path, inter_op: int = 0) -> None:
        """Loads a SavedModel; its operations must be registered.

        Args:
            directory: of the SavedModel.
            inter_op: threads that operations are spread over, as TensorFlow Serving's
                `--tensorflow_inter_op_parallelism`: 0 as many as cores, -1 the caller's alone.
        """
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        graph = tf.Graph()
        with graph.as_default():
            config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=inter_op)
            self._session = tf.compat.v1.Session(graph=graph, config=config)
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(directory))
        self._signatures = loaded.signature_def

    def function(self, signature: str, inputs: list[str], outputs: list[str]) -> Any:
        """A signature as a function of arrays."""
        of = self._signatures[signature]
        return self._session.make_callable(
            [of.outputs[name].name for name in outputs], [of.inputs[name].name for name in inputs]
        )

    def close(self) -> None:
        """Gives the memory back."""
        self._session.close()


class Served:
    """A bundle version that answers queries by number."""

    def __init__(self, version: Path, inter_op: int) -> None:
        self._ask = Session(version, inter_op).function(
            SERVING_DEFAULT, [NUMBER, EXCLUDE_IDS], [CANDIDATE_IDS, "scores"]
        )

    def ask(self, queries: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Candidate ids `[len(queries), k]`."""
        nothing = np.full((len(queries), 1), b"", object)
        ids: npt.NDArray[Any] = self._ask(queries.astype(np.float32), nothing)[0]
        return ids
