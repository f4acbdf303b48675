"""Reporters: progress bars on a terminal, plain lines elsewhere, or JSON; all on standard error."""

import json
import sys
import time
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tfrs_twotower.data.lines import shown

if TYPE_CHECKING:
    from pipelines.stages.run_events import StageEvent

_SECONDS_BETWEEN_LINES = 5.0


class TerminalReporter:
    """A live bar with rate and remaining time; finished bars stay on the screen."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._description = ""

    def message(self, text: str) -> None:
        """Closes the bar and prints a line."""
        self._close()
        self._console.print(shown(text), markup=False)

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Updates the bar of a description; a new description starts a new bar."""
        if self._progress is None or description != self._description:
            self._open(description)
        assert self._progress is not None
        assert self._task is not None
        self._progress.update(self._task, completed=done, total=total, detail=detail)
        if total is not None and done >= total:
            self._close()

    def _open(self, description: str) -> None:
        self._close()
        self._description = description
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=self._console,
        )
        self._task = self._progress.add_task(f"  {description}", total=None, detail="")
        self._progress.start()

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class LineReporter:
    """Prints a line every few seconds, for logs."""

    def __init__(self) -> None:
        self._description = ""
        self._started = 0.0
        self._done_before = 0.0
        self._last = 0.0

    def message(self, text: str) -> None:
        """Prints the line."""
        sys.stderr.write(f"{shown(text)}\n")
        sys.stderr.flush()

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Prints done, total, rate and remaining seconds, at most every 5 s."""
        now = time.monotonic()
        if description != self._description:
            self._description, self._started, self._last = description, now, now
            self._done_before = done  # a resumed training does not begin at zero
        finished = total is not None and done >= total
        if not finished and now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        elapsed = now - self._started
        parts = [f"  {description}: {done:,.0f}" + (f"/{total:,.0f}" if total else "")]
        if elapsed > 0 and done > self._done_before:
            rate = (done - self._done_before) / elapsed
            parts.append(f"{rate:,.1f}/s")
            if total:
                parts.append(f"{max(total - done, 0) / rate:,.0f} s left")
        parts.append(f"{elapsed:,.0f} s")
        if detail:
            parts.append(detail)
        self.message(", ".join(parts))


class JsonReporter:
    """Writes one JSON object on a line for each message, stage and, every few seconds, progress.

    Every line has `time` (UTC), `event` and, inside of a stage, `stage`. It is a listener of the
    run's stages as well.
    """

    def __init__(self) -> None:
        self._stage = ""
        self._last: dict[str, float] = {}

    def message(self, text: str) -> None:
        """Writes a line of the event `message`."""
        self._write("message", text=text)

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Writes a line of the event `progress`, at most every 5 s for a task, and at its end."""
        now = time.monotonic()
        finished = total is not None and done >= total
        if finished or now - self._last.get(description, now - 60) >= _SECONDS_BETWEEN_LINES:
            self._last[description] = now
            self._write("progress", task=description, done=done, total=total, detail=detail)

    def __call__(self, event: "StageEvent") -> None:
        """Writes a line of the event `stage`."""
        self._stage = event.stage
        facts = {name: value for name, value in asdict(event).items() if name != "stage" and value}
        self._write("stage", **facts)
        if event.state != "started":
            self._stage = ""

    def _write(self, event: str, **facts: Any) -> None:
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        stage = {"stage": self._stage} if self._stage else {}
        sys.stderr.write(json.dumps({"time": at, "event": event, **stage, **facts}) + "\n")
        sys.stderr.flush()


def make_reporter() -> TerminalReporter | LineReporter:
    """A live bar if standard error is a terminal, otherwise plain lines."""
    return TerminalReporter() if sys.stderr.isatty() else LineReporter()
