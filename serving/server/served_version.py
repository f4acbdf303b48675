"""One version in memory: loaded, warmed up, and counted while requests run on it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.bundle.loading import LoadedBundle, load_bundle
from serving.server.batch_queue import BatchQueue
from serving.server.batches import Arrays
from serving.server.batching_parameters import BatchingParameters, read_batching_parameters
from serving.server.metrics import Metrics
from serving.server.refusals import invalid
from serving.server.signatures import DEFAULT, Signature, read_signature_defs, signatures_of
from serving.server.warmup_replay import replay_warmup
from tfrs_twotower.artifacts import MANIFEST_NAME
from tfrs_twotower.errors import BundleError


@dataclass(frozen=True)
class LoadedVersion:
    """What loading a version gives; made on a thread."""

    model_name: str
    version: int
    bundle: LoadedBundle
    definitions: dict[str, Any]
    """`SignatureDef` by name."""
    signatures: dict[str, Signature]
    batching: BatchingParameters | None
    written: float
    """When the version was written, in seconds since 1970."""
    load_s: float
    warmup_s: float


def load_version(
    model_name: str, directory: Path, num_threads: int, batching: bool = True
) -> LoadedVersion:
    """Loads a version, verifies its checksums, and replays its warm-up requests.

    Args:
        model_name: the model's name at the server.
        directory: of the version; its name is the version's number.
        num_threads: threads that the server runs signatures on.
        batching: whether the version's batching parameters are followed.

    Raises:
        TwoTowerError: a file is damaged or missing, TensorFlow cannot load it, or a warm-up
            request fails.
    """
    started = time.monotonic()
    bundle = load_bundle(directory)
    definitions = read_signature_defs(directory)
    signatures = signatures_of(bundle, definitions)
    parameters = read_batching_parameters(directory, num_threads) if batching else None
    loaded = time.monotonic()
    replay_warmup(bundle, signatures)
    return LoadedVersion(
        model_name,
        int(directory.name),
        bundle,
        definitions,
        signatures,
        parameters,
        (directory / MANIFEST_NAME).stat().st_mtime,
        loaded - started,
        time.monotonic() - loaded,
    )


class ServedVersion:
    """A version that answers. Its methods run on the server's event loop."""

    def __init__(self, loaded: LoadedVersion, threads: Executor, metrics: Metrics) -> None:
        """Takes over a loaded version.

        Args:
            loaded: by `load_version`.
            threads: that signatures run on.
            metrics: that are told of runs.
        """
        self.loaded = loaded
        self._threads = threads
        self._metrics = metrics
        self.num_users = 0
        """Requests that run on it."""
        self._unused = asyncio.Event()
        self._unused.set()
        self._queues = {
            name: BatchQueue(self._runner(name), loaded.batching, threads, metrics)
            for name in loaded.signatures
            if loaded.batching is not None
        }

    @property
    def model_version(self) -> str:
        """What the version's own answers call it."""
        return str(self.loaded.bundle.manifest.details.get("model_version", ""))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a request runs on it, a version is not unloaded."""
        self.num_users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self.num_users -= 1
            if not self.num_users:
                self._unused.set()

    async def unused(self) -> None:
        """Waits until no request runs on it."""
        await self._unused.wait()

    def signature(self, name: str) -> Signature:
        """A signature by its name; "" is the default one.

        Raises:
            Refusal: there is none.
        """
        try:
            return self.loaded.signatures[name or DEFAULT]
        except KeyError:
            raise invalid(
                f'Serving signature name: "{name[:100]}" not found in signature def; there are '
                f"{', '.join(sorted(self.loaded.signatures))}."
            ) from None

    async def answer(self, signature: Signature, inputs: Arrays) -> Mapping[str, Any]:
        """Runs a signature, in a batch with other requests if the version says so.

        Args:
            signature: one of this version's.
            inputs: which fit it, one by one.

        Raises:
            Refusal: their rows differ in number, or the graph refuses them.
        """
        rows = {name: len(values) for name, values in inputs.items()}
        if len(set(rows.values())) != 1:
            raise invalid(f"inputs must have one number of rows; found {rows}.")
        started = time.monotonic()
        name = signature.name
        try:
            if name in self._queues:
                outputs = await self._queues[name].answer(inputs)
            else:
                loop = asyncio.get_running_loop()
                outputs = await loop.run_in_executor(self._threads, self._runner(name), inputs)
        except (BundleError, tf.errors.InvalidArgumentError) as cause:
            raise invalid(_first_line(cause)) from cause
        self._metrics.runtime_latency.observe(
            (time.monotonic() - started) * 1e6, self.loaded.model_name, "Predict", "TF"
        )
        num_rows = next(iter(rows.values()))
        self._metrics.request_example_counts.observe(num_rows, self.loaded.model_name)
        self._metrics.request_example_count_total.add(self.loaded.model_name, by=num_rows)
        _check_finite(outputs)
        return outputs

    def _runner(self, name: str) -> Callable[[Arrays], dict[str, Any]]:
        bundle = self.loaded.bundle
        return lambda inputs: bundle.call(name, inputs)


def _check_finite(outputs: Mapping[str, Any]) -> None:
    for name, values in outputs.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise invalid(
                f"output '{name}' is not a finite number for these inputs; look for infinite or "
                "huge numbers among them."
            )


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).partition("\n")[0]
