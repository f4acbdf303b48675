"""What training tells: reports to its caller, the log on disk, and the best measure so far."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StepReport:
    """How far training is, after one step."""

    step: int
    """Optimiser updates done, counted from 1."""
    total_steps: int
    """Updates that are planned; early stopping may end sooner."""
    epoch: float
    """Passes over the training examples done."""
    losses: dict[str, float]
    """The objective as `loss`, and the mean of each of its terms by name."""
    examples_per_s: float
    """Mean rate of this process, validation left out."""
    eta_s: float
    """Seconds until the planned end at this rate, validation left out."""
    learning_rate: float
    validation: dict[str, float] | None = None
    """Validation metrics and embedding health, in the report of a step that was evaluated."""
    phase: str = "fit"
    """`fit`, or `refit` in the second training that includes the validation window."""
    message: str = ""
    """Something a person should know, such as a batch size that was lowered."""


Report = Callable[[StepReport], None]


def message_report(text: str) -> StepReport:
    """A report that only says something to a person."""
    return StepReport(0, 0, 0.0, {}, 0.0, 0.0, 0.0, message=text)


@dataclass(frozen=True)
class TrainingResult:
    """What came out of training."""

    best_step: int
    """Step of the first training whose weights were best on validation (its last step without
    early stopping)."""
    best_epoch: float
    """The same, in passes over the examples."""
    steps: int
    """Updates of the training that made the kept weights."""
    refitted: bool
    """Whether the kept weights come from the second training."""
    validation: dict[str, float]
    """Validation metrics and embedding health at `best_step`; empty without validation queries."""
    num_examples: int
    """Examples of the training that made the kept weights."""
    batch_size: int
    """Global batch that was used."""
    temperature: float
    """Temperature at the end."""
    seconds: float
    """Time in training steps and validation, of all processes that took part."""
    examples_per_s: float
    """Examples per second of this process, validation left out."""
    messages: tuple[str, ...] = field(default=())
    """What a person should know."""


class TrainingLog:
    """Appends to `training_log.jsonl`."""

    def __init__(self, path: Path, position: int = 0) -> None:
        """Opens the log at a byte position; what a killed run wrote after it is cut off.

        Args:
            path: the file; it is made if it is not there.
            position: bytes to keep, as `position` of an earlier object said.
        """
        path.touch()
        self._stream = path.open("r+b")
        self._stream.truncate(position)
        self._stream.seek(0, os.SEEK_END)

    def write(self, entry: dict[str, Any]) -> None:
        """Appends one line."""
        self._stream.write(json.dumps(entry, allow_nan=False).encode() + b"\n")

    def position(self) -> int:
        """Bytes so far, after they are safe on the disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return self._stream.tell()

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


@dataclass
class BestSoFar:
    """The best evaluation, and how many have come since.

    Attributes:
        patience: evaluations without improvement before training stops; None never stops it.
        step: of the best evaluation; 0 before the first.
        value: its metric.
        evaluations_since: evaluations after it.
    """

    patience: int | None
    step: int = 0
    value: float = float("-inf")
    evaluations_since: int = 0

    def see(self, step: int, value: float) -> bool:
        """Takes note of an evaluation.

        Returns:
            Whether it is better than all before; equal is not better.
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
