"""Checkpoints of everything that the next step depends on, and the best weights so far."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.errors import TrainingError

_KEPT = 2


class HostState(tf.train.experimental.PythonState):
    """State outside of TensorFlow, saved as JSON inside the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: dict[str, Any] = {}

    def serialize(self) -> str:
        """Returns the facts as JSON; TensorFlow calls this when it saves."""
        return json.dumps(self.facts)

    def deserialize(self, string: bytes | str) -> None:
        """Reads the facts from JSON; TensorFlow calls this when it restores."""
        self.facts = json.loads(string)


class Checkpoints:
    """Saves and restores one training.

    TensorFlow first writes a checkpoint under temporary names and enters it in its state file last,
    so a kill at any moment leaves the previous checkpoint valid. The best weights of a step are a
    separate file, which is kept as long as a checkpoint refers to it.
    """

    def __init__(self, directory: Path, **trackables: Any) -> None:
        """Sets up the checkpoints of some objects.

        Args:
            directory: directory of this training; created if it does not exist.
            **trackables: the model, the optimiser, and other objects with variables.
        """
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._state = HostState()
        checkpoint = tf.train.Checkpoint(state=self._state, **trackables)
        self._manager = tf.train.CheckpointManager(checkpoint, str(directory), max_to_keep=_KEPT)
        self._checkpoint = checkpoint

    def restore(self) -> dict[str, Any] | None:
        """Restores the newest checkpoint.

        Returns:
            The facts that were saved with it; None if there is no checkpoint.

        Raises:
            TrainingError: the checkpoint does not fit this model.
        """
        newest = self._manager.latest_checkpoint
        if newest is None:
            return None
        try:
            self._checkpoint.restore(newest).assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as cause:
            first_line = next(iter(str(cause).splitlines()), "")
            raise TrainingError(
                f"{newest}: the checkpoint cannot be resumed from: {first_line} "
                f"Remove {self._directory} to train from the start."
            ) from cause
        return dict(self._state.facts)

    def save(self, step: int, facts: dict[str, Any], best_step: int) -> None:
        """Writes a checkpoint, then removes best weights that no remaining checkpoint needs."""
        self._state.facts = facts
        self._manager.save(checkpoint_number=step)
        for path in self._directory.glob("best-*.npz"):
            if path != self._best(best_step) and self._step_of(path) < best_step:
                path.unlink()

    def save_best(self, step: int, variables: Sequence[tf.Variable]) -> None:
        """Writes the current weights as those of the best step so far."""
        path = self._best(step)
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as stream:
            np.savez(stream, **{str(i): v.numpy() for i, v in enumerate(variables)})
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)

    def load_best(self, step: int, variables: Sequence[tf.Variable]) -> None:
        """Sets the variables to the weights of the best step."""
        with np.load(self._best(step), allow_pickle=False) as arrays:
            for i, variable in enumerate(variables):
                value: NDArray[np.generic] = arrays[str(i)]
                variable.assign(value)

    def _best(self, step: int) -> Path:
        return self._directory / f"best-{step:010d}.npz"

    @staticmethod
    def _step_of(path: Path) -> int:
        return int(path.stem.partition("-")[2])
