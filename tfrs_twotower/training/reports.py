"""What training tells its caller: while it runs, and at the end."""

from collections.abc import Callable
from dataclasses import dataclass, field


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
