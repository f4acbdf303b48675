"""What the server counts, and the page that Prometheus scrapes.

Names, labels and buckets are TensorFlow Serving's. Prometheus' client library counts and writes the
page; see docs/decisions/0020-local-server-of-starlette.md for the two places where its names are
brought back to TensorFlow Serving's.
"""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

from serving.server.refusals import Refusal, refusing

_SERVING, _CC = ":tensorflow:serving:", ":tensorflow:cc:saved_model:"
_WITHOUT_TOTAL = (
    f"{_SERVING}request_count",
    f"{_SERVING}batching_session:wrapped_run_count",
    f"{_CC}load_attempt_count",
    f"{_CC}load_latency",
)
"""Counters that the library would end with `_total`, and TensorFlow Serving does not."""
# A new line inside a label's value is escaped, so a name at the start of a line is a name.
_TOTAL = re.compile(rf"^((?:# \w+ )?(?:{'|'.join(_WITHOUT_TOTAL)}))_total\b", re.MULTILINE)


@dataclass
class RunningRequest:
    """What becomes known of a predict request while it runs."""

    model_name: str = ""
    """Set once a served model has this name, so that data of a request never becomes a label."""


class Metrics:
    """Everything that is counted; times are in microseconds. Used on the server's event loop."""

    def __init__(self) -> None:
        """Starts with nothing counted."""
        self._registry = registry = _Registry()
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        latency = partial(histogram, buckets=_limits(10, 1.8, 33))
        self.request_count = counter(
            f"{_SERVING}request_count", "Predict requests.", ["model_name", "status"]
        )
        self.request_latency = latency(
            f"{_SERVING}request_latency",
            "Time from a request's arrival to its answer.",
            ["model_name", "API", "entrypoint"],
        )
        self.runtime_latency = latency(
            f"{_SERVING}runtime_latency",
            "Time of a signature, with the wait for a batch.",
            ["model_name", "API", "runtime"],
        )
        self.request_example_counts = histogram(
            f"{_SERVING}request_example_counts",
            "Rows of a request.",
            ["model"],
            buckets=_limits(1, 2, 15),
        )
        self.request_example_count_total = counter(
            f"{_SERVING}request_example_count_total", "Rows of all requests.", ["model"]
        )
        self.model_warmup_latency = latency(
            f"{_SERVING}model_warmup_latency", "Time of warm-ups.", ["model_path", "status"]
        )
        self.queuing_latency = histogram(
            f"{_SERVING}batching_session:queuing_latency",
            "Time that a request waits for a batch.",
            buckets=_limits(100, 1.2, 52),
        )
        self.wrapped_run_count = counter(
            f"{_SERVING}batching_session:wrapped_run_count", "Batches that ran."
        )
        self.load_attempt_count = counter(
            f"{_CC}load_attempt_count", "Versions that were loaded.", ["model_path", "status"]
        )
        self.load_latency = counter(f"{_CC}load_latency", "Time of all loads.", ["model_path"])
        labels = ["model_name", "version", "model_version"]
        self._version = gauge(":twotower:serving:version", "Versions that serve.", labels)
        self._index_age = gauge(
            ":twotower:serving:index_age_seconds", "Time since a version was written.", labels
        )

    @contextmanager
    def predicting(self, entrypoint: str) -> Iterator[RunningRequest]:
        """Counts and times the predict request that runs inside the block.

        Args:
            entrypoint: `GRPC` or `REST`.

        Raises:
            Refusal: the block raised an exception.
        """
        request, started, status = RunningRequest(), time.monotonic(), grpc.StatusCode.OK
        try:
            with refusing():
                yield request
        except Refusal as refusal:
            status = refusal.code
            raise
        except BaseException:  # the client has gone
            status = grpc.StatusCode.CANCELLED
            raise
        finally:
            self.request_count.labels(request.model_name, status.name).inc()
            self.request_latency.labels(request.model_name, "Predict", entrypoint).observe(
                (time.monotonic() - started) * 1e6
            )

    def page(self, versions: Iterable[tuple[str, int, str, float]]) -> str:
        """The page that Prometheus scrapes.

        Args:
            versions: name, version number, `model_version` and time of writing (seconds since
                1970) of each version that serves.
        """
        self._version.clear()
        self._index_age.clear()
        for name, version, model_version, written in versions:
            self._version.labels(name, version, model_version).set(version)
            self._index_age.labels(name, version, model_version).set(time.time() - written)
        return _TOTAL.sub(r"\1", generate_latest(self._registry).decode())


class _Registry(CollectorRegistry):
    """Writes limits of buckets as TensorFlow Serving does, and no times of creation."""

    def collect(self) -> Iterator[Metric]:
        for metric in super().collect():
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            for sample in metric.samples:
                if "le" in sample.labels:
                    sample.labels["le"] = sample.labels["le"].removesuffix(".0")
            yield metric


def _limits(first: float, growth: float, count: int) -> list[float]:
    """Upper limits of buckets, to the six digits that TensorFlow Serving's page shows."""
    return [float(f"{first * growth**step:g}") for step in range(count)]
