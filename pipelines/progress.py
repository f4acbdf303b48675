"""The interface by which stages, Beam jobs and converters report their progress."""

from typing import Protocol


class Reporter(Protocol):
    """Shows messages and progress to a person, or writes them to a log."""

    def message(self, text: str) -> None:
        """Shows one line."""

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Shows how much of a task is done.

        Args:
            description: name of the task.
            done: amount that is done.
            total: amount in all; None if it is unknown.
            detail: further figures, as text.
        """


class SilentReporter:
    """Shows nothing; for tests, and for callers that show their own progress."""

    def message(self, text: str) -> None:
        """Drops the line."""

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Drops the figures."""
