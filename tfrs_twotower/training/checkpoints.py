"""Checkpoints: everything that the next step depends on, and the best weights beside them."""

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
    """Facts that live outside of TensorFlow, saved as JSON inside the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: dict[str, Any] = {}

    def serialize(self) -> str:
        """For TensorFlow."""
        return json.dumps(self.facts)

    def deserialize(self, string: bytes | str) -> None:
        """For TensorFlow."""
        self.facts = json.loads(string)


class Checkpoints:
    """Saves and restores one training.

    TensorFlow writes a checkpoint to temporary names first and names it in its state file last, so
    a kill at any moment leaves the previous one. Best weights are a file of their own for each
    step; the file that a checkpoint speaks of is kept as long as that checkpoint.
    """

    def __init__(self, directory: Path, **trackables: Any) -> None:
        """Watches the objects.

        Args:
            directory: of this training; made if it is not there.
            **trackables: model, optimiser and whatever else holds variables.
        """
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._state = HostState()
        checkpoint = tf.train.Checkpoint(state=self._state, **trackables)
        self._manager = tf.train.CheckpointManager(checkpoint, str(directory), max_to_keep=_KEPT)
        self._checkpoint = checkpoint

    def restore(self) -> dict[str, Any] | None:
        """Takes up the newest checkpoint.

        Returns:
            The facts that were saved with it; None if there is none.

        Raises:
            TrainingError: it does not fit this model.
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
        """Writes a checkpoint; best weights of no remaining checkpoint are removed after it."""
        self._state.facts = facts
        self._manager.save(checkpoint_number=step)
        for path in self._directory.glob("best-*.npz"):
            if path != self._best(best_step) and self._step_of(path) < best_step:
                path.unlink()

    def save_best(self, step: int, variables: Sequence[tf.Variable]) -> None:
        """Writes the weights of the best step so far."""
        path = self._best(step)
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as stream:
            np.savez(stream, **{str(i): v.numpy() for i, v in enumerate(variables)})
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)

    def load_best(self, step: int, variables: Sequence[tf.Variable]) -> None:
        """Gives variables the weights of the best step."""
        with np.load(self._best(step), allow_pickle=False) as arrays:
            for i, variable in enumerate(variables):
                value: NDArray[np.generic] = arrays[str(i)]
                variable.assign(value)

    def _best(self, step: int) -> Path:
        return self._directory / f"best-{step:010d}.npz"

    @staticmethod
    def _step_of(path: Path) -> int:
        return int(path.stem.partition("-")[2])
