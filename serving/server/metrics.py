"""What the server counts, and the Prometheus page of it.

Names and buckets are TensorFlow Serving's. Prometheus' own client library cannot write them: it
adds `_total` to the name of every counter.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator

Labels = tuple[str, ...]


class Counter:
    """Numbers that only grow, by label values."""

    kind = "counter"

    def __init__(self, name: str, *labels: str) -> None:
        """Starts at nothing.

        Args:
            name: as Prometheus reads it.
            labels: names of the labels.
        """
        self.name = name
        self._labels = labels
        self._values: dict[Labels, float] = {}

    def add(self, *labels: str, by: float = 1) -> None:
        """Adds to the number of these label values."""
        self._values[labels] = self._values.get(labels, 0) + by

    def lines(self) -> Iterator[str]:
        """Samples in Prometheus' text format."""
        for labels, value in self._values.items():
            yield f"{self.name}{_braces(self._labels, labels)} {value:.0f}"


class Histogram:
    """How often values fall below each of exponentially growing limits, by label values."""

    kind = "histogram"

    def __init__(
        self, name: str, *labels: str, scale: float = 10, growth: float = 1.8, buckets: int = 33
    ) -> None:
        """Starts with nothing observed.

        Args:
            name: as Prometheus reads it.
            labels: names of the labels.
            scale: limit of the first bucket.
            growth: of each limit to the next.
            buckets: number of limits; a last bucket has none.
        """
        self.name = name
        self._labels = labels
        self._limits = [scale * growth**number for number in range(buckets)]
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Counts one value."""
        counts = self._counts.setdefault(labels, [0] * (len(self._limits) + 1))
        counts[bisect_left(self._limits, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> Iterator[str]:
        """Samples in Prometheus' text format."""
        names = (*self._labels, "le")
        for labels, counts in self._counts.items():
            below = 0
            for limit, count in zip([*self._limits, math.inf], counts, strict=True):
                below += count
                shown = "+Inf" if math.isinf(limit) else f"{limit:g}"
                yield f"{self.name}_bucket{_braces(names, (*labels, shown))} {below}"
            braces = _braces(self._labels, labels)
            yield f"{self.name}_sum{braces} {self._sums[labels]:.6g}"
            yield f"{self.name}_count{braces} {below}"


class Metrics:
    """Everything that is counted. Used on the server's event loop only."""

    def __init__(self) -> None:
        serving, cc = ":tensorflow:serving:", ":tensorflow:cc:saved_model:"
        self.request_count = Counter(f"{serving}request_count", "model_name", "status")
        self.request_latency = Histogram(
            f"{serving}request_latency", "model_name", "API", "entrypoint"
        )
        self.runtime_latency = Histogram(
            f"{serving}runtime_latency", "model_name", "API", "runtime"
        )
        self.request_example_counts = Histogram(
            f"{serving}request_example_counts", "model", scale=1, growth=2, buckets=15
        )
        self.request_example_count_total = Counter(f"{serving}request_example_count_total", "model")
        self.model_warmup_latency = Histogram(
            f"{serving}model_warmup_latency", "model_path", "status"
        )
        self.queuing_latency = Histogram(
            f"{serving}batching_session:queuing_latency", scale=100, growth=1.2, buckets=52
        )
        self.wrapped_run_count = Counter(f"{serving}batching_session:wrapped_run_count")
        self.load_attempt_count = Counter(f"{cc}load_attempt_count", "model_path", "status")
        self.load_latency = Counter(f"{cc}load_latency", "model_path")

    def page(self, versions: Iterable[tuple[str, int, str, float]]) -> str:
        """The page that Prometheus scrapes.

        Args:
            versions: name, version number, `model_version` and time of writing (seconds since
                1970) of each version that serves.
        """
        lines = []
        for metric in vars(self).values():
            lines += [f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
        names = ("model_name", "version", "model_version")
        number, age = ":twotower:serving:version", ":twotower:serving:index_age_seconds"
        serving = [
            (_braces(names, (name, str(version), text)), version, time.time() - written)
            for name, version, text, written in versions
        ]
        lines += [f"# TYPE {number} gauge", *(f"{number}{at} {which}" for at, which, _ in serving)]
        lines += [f"# TYPE {age} gauge", *(f"{age}{at} {since:.1f}" for at, _, since in serving)]
        return "\n".join(lines) + "\n"


def _braces(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = ",".join(
        f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)
    )
    return f"{{{pairs}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
