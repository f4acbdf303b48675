"""The metrics of the server, and the page that Prometheus scrapes.

Names, labels and buckets are those of TensorFlow Serving. Prometheus' client library counts and
writes the page; docs/decisions/0020-local-server-of-starlette.md says why patterns correct it.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.server.refusals import refusal_of

_CORRECTIONS = (
    # Only one of TensorFlow Serving's counters ends with `_total`. Line breaks in label values are
    # escaped, so only names of metrics stand at the start of a line.
    (r"^((?:# \w+ )?:tensorflow:[\w:]+)(?<!request_example_count)_total\b", r"\1"),
    # Times of creation are the library's own.
    (r"^(?:# \w+ )?[\w:]+_created\b.*\n", ""),
    # A limit of a bucket is written 10, not 10.0. Quotes in label values are escaped.
    (r'(?<=\ble=")(\d+)\.0"', r'\1"'),
)
"""Patterns in the library's page, and what TensorFlow Serving writes instead."""


@dataclass
class RunningRequest:
    """Facts about a predict request that become known while it runs."""

    model_name: str = ""
    """Set only to the name of a served model, so that request data never becomes a label."""


class Metrics:
    """All metrics; times are in microseconds. Used on the server's event loop."""

    def __init__(self) -> None:
        """Declares the metrics, all at zero."""
        self._registry = registry = CollectorRegistry()

        def counter(name: str, text: str, labels: str = "") -> Counter:
            return Counter(f":tensorflow:{name}", text, labels.split(), registry=registry)

        def histogram(
            name: str, text: str, labels: str = "", limits: Sequence[float] = ()
        ) -> Histogram:
            name = f":tensorflow:serving:{name}"
            buckets = limits or _limits(10, 1.8, 33)
            return Histogram(name, text, labels.split(), registry=registry, buckets=buckets)

        self.request_count = counter("serving:request_count", "Requests.", "model_name status")
        self.request_example_count_total = counter(
            "serving:request_example_count_total", "Rows of all requests.", "model"
        )
        self.wrapped_run_count = counter("serving:batching_session:wrapped_run_count", "Batches.")
        self.load_attempt_count = counter(
            "cc:saved_model:load_attempt_count", "Versions that were loaded.", "model_path status"
        )
        self.load_latency = counter("cc:saved_model:load_latency", "All loads.", "model_path")
        self.request_latency = histogram(
            "request_latency", "Time from arrival to answer.", "model_name API entrypoint"
        )
        self.runtime_latency = histogram(
            "runtime_latency", "Time with the wait for a batch.", "model_name API runtime"
        )
        self.model_warmup_latency = histogram(
            "model_warmup_latency", "Time of warm-ups.", "model_path status"
        )
        self.request_example_counts = histogram(
            "request_example_counts", "Rows of a request.", "model", _limits(1, 2, 15)
        )
        self.queuing_latency = histogram(
            "batching_session:queuing_latency", "Wait for a batch.", limits=_limits(100, 1.2, 52)
        )
        labels = ["model_name", "version", "model_version"]
        gauge = partial(Gauge, labelnames=labels, registry=registry)
        self._version = gauge(":twotower:serving:version", "Versions that serve.")
        self._index_age = gauge(":twotower:serving:index_age_seconds", "Time since it was written.")

    @contextmanager
    def predicting(self, entrypoint: str, api: str) -> Iterator[RunningRequest]:
        """Counts the predict request that runs in the block, and times it if it is answered.

        Args:
            entrypoint: `GRPC` or `REST`.
            api: `Predict`; over REST the word in the path, such as `predict`.

        Raises:
            Refusal: the block raised an exception.
        """
        request, started, status = RunningRequest(), time.monotonic(), grpc.StatusCode.CANCELLED
        try:
            yield request
            status = grpc.StatusCode.OK
        except Exception as error:
            refusal = refusal_of(error)
            status = refusal.code
            raise refusal from error
        finally:
            name = request.model_name
            self.request_count.labels(name, status.name).inc()
            if status is grpc.StatusCode.OK:
                latency = self.request_latency.labels(name, api, entrypoint)
                latency.observe((time.monotonic() - started) * 1e6)

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
        page = generate_latest(self._registry).decode()
        for pattern, corrected in _CORRECTIONS:
            page = re.sub(pattern, corrected, page, flags=re.MULTILINE)
        return page


def _limits(first: float, growth: float, count: int) -> list[float]:
    """Upper limits of buckets, with the six digits that TensorFlow Serving shows."""
    return [float(f"{first * growth**step:g}") for step in range(count)]
