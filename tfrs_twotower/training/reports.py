"""Reports of training to its caller, the log on disk, and the best evaluation so far."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StepReport:
    """The progress of training after one step."""

    step: int
    """Number of optimiser updates so far."""
    total_steps: int
    """Number of planned updates; early stopping may end training sooner."""
    epoch: float
    """Number of passes over the training examples so far."""
    losses: dict[str, float]
    """The objective as `loss`, and the mean of each of its terms by name."""
    examples_per_s: float
    """Mean rate of this process, without validation."""
    eta_s: float
    """Seconds until the planned end at this rate, without validation."""
    learning_rate: float
    """Learning rate of this step."""
    validation: dict[str, float] | None = None
    """Validation metrics and embedding health, in the report of a step that was evaluated."""
    phase: str = "fit"
    """`fit`, or `refit` in the second training that includes the validation window."""
    message: str = ""
    """A message for the user, such as that the batch size was lowered."""


Report = Callable[[StepReport], None]


def ignore_report(report: StepReport) -> None:
    """Drops a report."""


def message_report(text: str) -> StepReport:
    """Makes a report that only carries a message for the user."""
    return StepReport(0, 0, 0.0, {}, 0.0, 0.0, 0.0, message=text)


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training."""

    best_step: int
    """Step of the first training with the best validation metric; without early stopping, its
    last step."""
    best_epoch: float
    """The same step, in passes over the examples."""
    steps: int
    """Number of updates of the training that made the kept weights."""
    refitted: bool
    """Whether the kept weights come from the second training."""
    validation: dict[str, float]
    """Validation metrics and embedding health at `best_step`; empty without validation queries."""
    num_examples: int
    """Number of examples of the training that made the kept weights."""
    batch_size: int
    """Size of the global batch that was used."""
    temperature: float
    """Temperature of the retrieval softmax at the end."""
    seconds: float
    """Time of training steps and validation, over all processes that took part."""
    examples_per_s: float
    """Examples per second of this process, without validation."""
    messages: tuple[str, ...] = field(default=())
    """Messages for the user."""
    wide: dict[str, Any] | None = None
    """What `model.wide` came to; None without it."""
    rounds: tuple[dict[str, Any], ...] = field(default=())
    """Facts about each round of `training.ance`; empty without it."""


class TrainingLog:
    """Appends to `training_log.jsonl`."""

    def __init__(self, path: Path, position: int = 0) -> None:
        """Opens the log at a byte position; entries that a killed run wrote after it are cut off.

        Args:
            path: the file; created if it does not exist.
            position: number of bytes to keep, as `position` of an earlier log returned.
        """
        path.touch()
        self._stream = path.open("r+b")
        self._stream.truncate(position)
        self._stream.seek(0, os.SEEK_END)

    def write(self, entry: dict[str, Any]) -> None:
        """Appends one line."""
        self._stream.write(json.dumps(entry, allow_nan=False).encode() + b"\n")

    def position(self) -> int:
        """Flushes the log to disk, and returns its size in bytes."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return self._stream.tell()

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


@dataclass
class BestSoFar:
    """The best evaluation, and the number of evaluations after it.

    Attributes:
        patience: evaluations without improvement before training stops; None never stops it.
        step: step of the best evaluation; 0 before the first.
        value: metric of the best evaluation.
        evaluations_since: number of evaluations after the best one.
    """

    patience: int | None
    step: int = 0
    value: float = float("-inf")
    evaluations_since: int = 0

    def record(self, step: int, value: float) -> bool:
        """Records an evaluation.

        Returns:
            Whether it is better than all earlier ones; an equal value is not better.
        """
        if value > self.value:
            self.step, self.value, self.evaluations_since = step, value, 0
            return True
        self.evaluations_since += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether training should stop."""
        return self.patience is not None and self.evaluations_since >= self.patience
