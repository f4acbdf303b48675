"""The queue of one signature, where requests wait briefly for others and then run together.

A request joins the newest batch if that has room, and otherwise opens another. A batch runs when it
is full or its time is over, as soon as a thread is free; until then requests may join it.

Everything happens on the server's event loop except the call of the signature, which runs on a
thread. A queue belongs to one version, so a batch never mixes versions. TensorFlow's own batching
in the graph (`tf.nondifferentiable_batch_function`) cannot replace it: it refuses requests of
unequal widths, fails a whole batch for one bad request, and holds a thread per waiting request.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import anyio
import grpc
import numpy as np
import numpy.typing as npt

from serving.bundle.server_files import BatchingParameters
from serving.server import refusals
from serving.server.metrics import Metrics

Arrays = Mapping[str, npt.NDArray[Any]]
Run = Callable[[Arrays], dict[str, Any]]


class _Request:
    """A request that waits, and the sizes that decide whether it fits into a batch."""

    def __init__(self, inputs: Arrays) -> None:
        self.inputs = inputs
        self.rows = len(next(iter(inputs.values())))
        self.widths = [inputs[name].shape[1:] for name in sorted(inputs)]
        self.longest = longest_of(inputs)
        self.arrived = time.monotonic()
        self.answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()


@dataclass(eq=False)
class _Batch:
    """Requests that will run together; none may join a closed batch."""

    requests: list[_Request] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class BatchQueue:
    """Requests to one signature of one version."""

    run: Run
    """Calls the signature, on one of the threads."""
    parameters: BatchingParameters
    threads: Executor
    metrics: Metrics

    def __post_init__(self) -> None:
        self._free_threads = asyncio.Semaphore(self.parameters.num_threads)
        self._batches: dict[_Batch, asyncio.Task[None]] = {}
        """The batches that wait or run, oldest first."""

    async def answer(self, inputs: Arrays) -> dict[str, Any]:
        """Runs a request, in a batch with others if there are any.

        Args:
            inputs: `[rows, ...]`; they fit the signature.

        Raises:
            Refusal: the request has more rows than a batch may have, or the queue is full.
        """
        request, limit = _Request(inputs), self.parameters.max_batch_size
        if request.rows > limit:
            raise refusals.invalid(
                f"Task size {request.rows} is larger than maximum input batch size {limit}"
            )
        batch = next(reversed(self._batches), None)
        if batch is None or batch.closed.is_set() or not self._fits([*batch.requests, request]):
            if len(self._batches) >= self.parameters.max_enqueued_batches:
                raise refusals.Refusal(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            if batch is not None:
                batch.closed.set()
            batch = _Batch()
            self._batches[batch] = asyncio.create_task(self._run_when_due(batch))
        batch.requests.append(request)
        if sum(each.rows for each in batch.requests) >= limit:
            batch.closed.set()
        return await request.answer

    def _fits(self, batch: list[_Request]) -> bool:
        """Whether requests may share a batch, within the limits of its padded size."""
        rows = sum(request.rows for request in batch)
        if rows > self.parameters.max_batch_size:
            return False
        widths = [request.widths for request in batch]
        if not self.parameters.pad_widths and any(each != widths[0] for each in widths):
            return False
        widest = max(
            math.prod(map(max, zip(*shapes, strict=True))) for shapes in zip(*widths, strict=True)
        )
        size = self.parameters.padded_rows(rows) * widest
        longest = max(request.longest for request in batch)
        return size <= refusals.MAX_VALUES and size * longest <= refusals.MAX_BATCH_BYTES

    async def _run_when_due(self, batch: _Batch) -> None:
        """Waits until a batch is closed or its time is over, and for a thread; then answers it."""
        with anyio.move_on_after(self.parameters.timeout_s):
            await batch.closed.wait()
        async with self._free_threads:
            batch.closed.set()
            # Requests of clients that have disconnected do not run.
            requests = [request for request in batch.requests if not request.answer.done()]
            for request in requests:
                self.metrics.queuing_latency.observe((time.monotonic() - request.arrived) * 1e6)
            await self._answer(requests)
        del self._batches[batch]

    async def _answer(self, requests: list[_Request]) -> None:
        """Runs requests together, or each alone if that fails, so that only bad requests fail."""
        if not requests:
            return
        rows = [request.rows for request in requests]
        num_rows = self.parameters.padded_rows(sum(rows)) if self._fits(requests) else sum(rows)
        self.metrics.wrapped_run_count.inc()

        def run() -> list[dict[str, Any]]:
            return split(self.run(join([each.inputs for each in requests], num_rows)), rows)

        try:
            answers = await asyncio.get_running_loop().run_in_executor(self.threads, run)
        except Exception as error:
            if len(requests) > 1:
                for request in requests:
                    await self._answer([request])
            elif not requests[0].answer.done():
                requests[0].answer.set_exception(error)
            return
        for request, answer in zip(requests, answers, strict=True):
            if not request.answer.done():
                request.answer.set_result(answer)


def longest_of(inputs: Arrays) -> int:
    """Bytes of the longest element of any input, at least the 8 bytes of a number."""
    strings = [values.reshape(-1) for values in inputs.values() if values.dtype == object]
    return max([8, *(max(map(len, values.tolist())) for values in strings)])


def join(requests: Sequence[Arrays], num_rows: int) -> dict[str, npt.NDArray[Any]]:
    """Joins several requests to one batch.

    If widths differ, a request is padded with the first element of its own tensor. Missing rows
    repeat the first row of the last request.

    Args:
        requests: inputs `[rows, ...]` with the same names, types and ranks.
        num_rows: number of rows of the batch, at least that of all requests together.
    """
    return {name: _join([inputs[name] for inputs in requests], num_rows) for name in requests[0]}


def split(outputs: Arrays, rows: Sequence[int]) -> list[dict[str, npt.NDArray[Any]]]:
    """Splits the outputs of a batch into those of each request; padding rows are dropped.

    Args:
        outputs: `[at least sum(rows), ...]`.
        rows: number of rows of each request.
    """
    parts = {name: np.split(values, np.cumsum(rows)) for name, values in outputs.items()}
    return [{name: pieces[number] for name, pieces in parts.items()} for number in range(len(rows))]


def _join(tensors: list[npt.NDArray[Any]], num_rows: int) -> npt.NDArray[Any]:
    widest = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    padded = [_pad(tensor, widest) for tensor in tensors]
    if missing := num_rows - sum(map(len, padded)):
        padded.append(np.repeat(padded[-1][:1], missing, axis=0))
    return padded[0] if len(padded) == 1 else np.concatenate(padded)


def _pad(tensor: npt.NDArray[Any], widths: list[int]) -> npt.NDArray[Any]:
    if list(tensor.shape[1:]) == widths:
        return tensor
    wide = np.full((len(tensor), *widths), tensor.reshape(-1)[0], tensor.dtype)
    wide[tuple(slice(size) for size in tensor.shape)] = tensor
    return wide
