"""When to stop, and which weights to keep."""

from dataclasses import dataclass


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
