"""Metrics of a run as a textfile for Prometheus' node exporter, replaced as a whole at each change.

The exporter reads `*.prom` files of its `--collector.textfile.directory`. A stage that was up to
date keeps the seconds of the time when it ran, so that a dashboard shows no gaps.
"""

import time
from pathlib import Path

from pipelines.stages.context import read_durations
from pipelines.stages.run_events import StageEvent
from tfrs_twotower.environment import require_extra
from tfrs_twotower.errors import WorkdirError


class MetricsFile:
    """A listener that writes what it has heard of a run."""

    def __init__(self, path: Path, root: Path) -> None:
        """Checks that the file can be written.

        Args:
            path: the file; the exporter wants the suffix `.prom`.
            root: the working directory, which knows how long stages took earlier.

        Raises:
            WorkdirError: its directory does not exist.
        """
        require_extra("pipelines", "prometheus_client", needed_by="--metrics-file")
        if not path.parent.is_dir():
            raise WorkdirError(
                f"--metrics-file {path}: there is no directory {path.parent}; a file in an "
                "existing one is allowed. Make it, or name one that the node exporter reads."
            )
        self._path = path
        self._root = root
        self._last: dict[str, StageEvent] = {}

    def __call__(self, event: StageEvent) -> None:
        """Writes the file with this event."""
        self._last[event.stage] = event
        if event.state != "started":
            self._write(event)

    def _write(self, latest: StageEvent) -> None:
        from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

        registry = CollectorRegistry()

        def gauge(name: str, described: str, *labels: str) -> Gauge:
            return Gauge(f"twotower_{name}", described, ["run", *labels], registry=registry)

        seconds = gauge("stage_seconds", "Duration of the stage when it last ran.", "stage")
        failed = gauge("stage_failed", "Whether the stage failed in the last run.", "stage")
        skipped = gauge("stage_skipped", "Whether it was up to date in the last run.", "stage")
        counts = gauge("stage_count", "Counts of the stage's artifact.", "stage", "count")
        done = gauge("run_stages_done", "Stages of the last run that are done.")
        stages = gauge("run_stages", "Stages of the last run.")
        at = gauge("run_last_change_timestamp_seconds", "Time of the last change in a run.")
        durations = read_durations(self._root)
        for stage, event in self._last.items():
            labels = (event.run, stage)
            seconds.labels(*labels).set(event.seconds or durations.get(stage, 0.0))
            failed.labels(*labels).set(event.state == "failed")
            skipped.labels(*labels).set(event.state == "skipped")
            for name, number in event.counts.items():
                counts.labels(*labels, name).set(number)
        ended = [one for one in self._last.values() if one.state not in ("started", "failed")]
        done.labels(latest.run).set(len(ended))
        stages.labels(latest.run).set(latest.of)
        at.labels(latest.run).set(time.time())
        write_to_textfile(str(self._path), registry)
