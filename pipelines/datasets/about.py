"""What a data set is called, who made it, and how far its conversion is."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class About:
    """What `SOURCE.json` says about a data set beside its checksums."""

    name: str
    """Name on the command line, with hyphens."""
    licence: str
    """Licence, or the terms that stand in its place."""
    attribution: str
    """Whom to name, and how."""
    layout: str
    """Which files `--source` must hold, in words."""

    @property
    def directory(self) -> str:
        """Name of the output directory, of the feature spec and of the run config."""
        return self.name.replace("-", "_")


class Reporter(Protocol):
    """Shows a person, or a log, how far a conversion is."""

    def message(self, text: str) -> None:
        """Says one line."""

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Says how much of something is done; `total` is None where it is not known."""
