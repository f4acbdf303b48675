"""One version in memory: loaded, warmed up, and kept while requests run on it.

TensorFlow's loader does not replay warm-up requests. This module does, as TensorFlow Serving does.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.bundle import loading, server_files
from serving.server import batch_queue, refusals, request_tensors
from serving.server.metrics import Metrics
from tfrs_twotower.artifacts import MANIFEST_NAME
from tfrs_twotower.errors import BundleError

NUM_THREADS = os.cpu_count() or 1
"""Number of threads that run signatures; batching parameters may limit a version to fewer."""
_MAX_WARMUP_REQUESTS = 1000
_POLL_S = 0.01


@dataclass(eq=False)
class ServedVersion:
    """A loaded version that answers requests. Its methods run on the server's event loop."""

    model_name: str
    version: int
    bundle: loading.LoadedBundle
    definitions: Any
    """`SignatureDefMap`."""
    signatures: dict[str, request_tensors.Signature]
    batching: server_files.BatchingParameters | None
    threads: Executor
    """The threads that run its signatures."""
    metrics: Metrics
    written: float
    """When the version was written, in seconds since 1970."""
    load_s: float
    warmup_s: float
    num_users: int = 0
    """Number of requests that run on it."""

    def __post_init__(self) -> None:
        self._queues = {
            name: batch_queue.BatchQueue(
                partial(self.bundle.call, name), self.batching, self.threads, self.metrics
            )
            for name in self.signatures
            if self.batching is not None
        }

    @property
    def model_version(self) -> str:
        """The `model_version` in the version's answers."""
        return str(self.bundle.manifest.details.get("model_version", ""))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Marks a running request, so that the version is not unloaded while it runs."""
        self.num_users += 1
        try:
            yield
        finally:
            self.num_users -= 1

    async def unused(self) -> None:
        """Waits until no request runs on it."""
        while self.num_users:
            await asyncio.sleep(_POLL_S)

    def signature(self, name: str, refused_with: grpc.StatusCode) -> request_tensors.Signature:
        """A signature by its name; "" is the default signature.

        Args:
            name: as the request has it.
            refused_with: the code that the API has for an unknown signature.

        Raises:
            Refusal: there is no such signature.
        """
        if (name or request_tensors.DEFAULT) not in self.signatures:
            raise refusals.Refusal(
                refused_with,
                f'Serving signature name: "{name[:100]}" not found in signature def; there are '
                f"{', '.join(sorted(self.signatures))}.",
            )
        return self.signatures[name or request_tensors.DEFAULT]

    async def answer(
        self, signature: request_tensors.Signature, inputs: batch_queue.Arrays
    ) -> Mapping[str, Any]:
        """Runs a signature, in a batch with other requests if the version has batching parameters.

        Args:
            signature: a signature of this version.
            inputs: arrays that each fit the signature.

        Raises:
            Refusal: the inputs differ in their number of rows, the graph refuses them, or an
                output is not finite.
        """
        rows = {name: len(values) for name, values in inputs.items()}
        if len(set(rows.values())) != 1:
            raise refusals.invalid(f"inputs must have one number of rows; found {rows}.")
        started, num_rows, name = time.monotonic(), max(rows.values()), signature.name
        try:
            if name in self._queues:
                outputs = await self._queues[name].answer(inputs)
            else:
                loop = asyncio.get_running_loop()
                outputs = await loop.run_in_executor(self.threads, self.bundle.call, name, inputs)
        except (BundleError, tf.errors.InvalidArgumentError) as cause:
            raise refusals.invalid(str(cause.__cause__ or cause).partition("\n")[0]) from cause
        latency = self.metrics.runtime_latency.labels(self.model_name, "Predict", "TF1")
        latency.observe((time.monotonic() - started) * 1e6)
        self.metrics.request_example_counts.labels(self.model_name).observe(num_rows)
        self.metrics.request_example_count_total.labels(self.model_name).inc(num_rows)
        for name, values in outputs.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise refusals.invalid(
                    f"output '{name}' is not a finite number for these inputs; look for infinite "
                    "or huge numbers among them."
                )
        return outputs


def load_version(
    model_name: str, directory: Path, *, threads: Executor, metrics: Metrics, batching: bool = True
) -> ServedVersion:
    """Loads a version, verifies its checksums, and replays its warm-up requests.

    Args:
        model_name: the model's name at the server.
        directory: directory of the version, named by its number.
        threads: threads that run the version's signatures.
        metrics: metrics that count its requests.
        batching: whether to follow the version's batching parameters.

    Raises:
        TwoTowerError: a file is damaged or missing, TensorFlow cannot load it, or a warm-up
            request fails.
    """
    started = time.monotonic()
    bundle = loading.load_bundle(directory)
    definitions = request_tensors.read_signature_defs(directory)
    signatures = request_tensors.signatures_of(bundle, definitions)
    loaded = time.monotonic()
    _replay_warmup(bundle, signatures)
    return ServedVersion(
        model_name,
        int(directory.name),
        bundle,
        definitions,
        signatures,
        server_files.read_batching_parameters(directory, NUM_THREADS) if batching else None,
        threads,
        metrics,
        written=(directory / MANIFEST_NAME).stat().st_mtime,
        load_s=loaded - started,
        warmup_s=time.monotonic() - loaded,
    )


def _replay_warmup(
    model: loading.LoadedModel, signatures: Mapping[str, request_tensors.Signature]
) -> None:
    """Runs each warm-up request once; if one fails, so does the version, as in TensorFlow Serving.

    Raises:
        BundleError: the file has another format or too many requests, or a request fails.
    """
    path = model.directory / server_files.WARMUP_PATH
    if not path.is_file():
        return
    count = 0
    try:
        records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for count, record in enumerate(records, start=1):
            if count > _MAX_WARMUP_REQUESTS:
                raise refusals.invalid(f"at most {_MAX_WARMUP_REQUESTS} are replayed")
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            signature = signatures[request.model_spec.signature_name or request_tensors.DEFAULT]
            model.call(signature.name, request_tensors.arrays_of(signature, request))
    except (BundleError, DecodeError, KeyError, refusals.Refusal, tf.errors.OpError) as cause:
        raise BundleError(
            f"{path}: warm-up request {count} fails: {cause}. Export the bundle again."
        ) from cause
