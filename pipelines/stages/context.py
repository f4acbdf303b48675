"""What every stage is given: where things are, what the data is, what to do, whom to tell."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tfrs_twotower.artifacts import Layout
from tfrs_twotower.config import RunConfig
from tfrs_twotower.specs import FeatureSpec


class Reporter(Protocol):
    """Shows a person, or a log, how far a stage is."""

    def message(self, text: str) -> None:
        """Says one line."""

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Says how much of something is done; `total` is None where it is not known."""


class SilentReporter:
    """Says nothing; for tests and for callers that show their own progress."""

    def message(self, text: str) -> None:
        """Drops the line."""

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Drops the figure."""


@dataclass(frozen=True)
class StageContext:
    """One run: its documents, its directories, its reporter."""

    layout: Layout
    spec: FeatureSpec
    config: RunConfig
    data_root: Path
    """Where the spec's relative table paths start."""
    reporter: Reporter
    beam_options: tuple[str, ...] = ()
    """Arguments for Beam's pipeline options; without a runner among them, Beam's in-memory runner
    is used."""
