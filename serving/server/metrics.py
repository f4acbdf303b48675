"""The metrics of the server, and the page that Prometheus scrapes.

Names, labels and buckets are those of TensorFlow Serving. Prometheus' client library counts and
writes the page; docs/decisions/0020-local-server-of-starlette.md describes the two places where its
names are changed back to TensorFlow Serving's.
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
"""Counters whose names the library would end with `_total`, unlike TensorFlow Serving."""
# Line breaks in label values are escaped, so only metric names stand at the start of a line.
_TOTAL = re.compile(rf"^((?:# \w+ )?(?:{'|'.join(_WITHOUT_TOTAL)}))_total\b", re.MULTILINE)


@dataclass
class RunningRequest:
    """Facts about a predict request that become known while it runs."""

    model_name: str = ""
    """Set only to the name of a served model, so that request data never becomes a label."""


class Metrics:
    """All metrics; times are in microseconds. Used on the server's event loop."""

    def __init__(self) -> None:
        """Declares the metrics, all at zero."""
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
        """Counts and times the predict request that runs in the block.

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
        except BaseException:  # the client has disconnected
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
            versions: model name, version number, `model_version` and time of writing (seconds
                since 1970) of each serving version.
        """
        self._version.clear()
        self._index_age.clear()
        for name, version, model_version, written in versions:
            self._version.labels(name, version, model_version).set(version)
            self._index_age.labels(name, version, model_version).set(time.time() - written)
        return _TOTAL.sub(r"\1", generate_latest(self._registry).decode())


class _Registry(CollectorRegistry):
    """Writes bucket limits as TensorFlow Serving does, and leaves out creation times."""

    def collect(self) -> Iterator[Metric]:
        for metric in super().collect():
            metric.samples = [
                sample for sample in metric.samples if not sample.name.endswith("_created")
            ]
            for sample in metric.samples:
                if "le" in sample.labels:
                    sample.labels["le"] = sample.labels["le"].removesuffix(".0")
            yield metric


def _limits(first: float, growth: float, count: int) -> list[float]:
    """Upper limits of buckets, with the six digits that TensorFlow Serving shows."""
    return [float(f"{first * growth**step:g}") for step in range(count)]
