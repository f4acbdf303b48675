"""The queue of one signature, where requests wait briefly for others and then run together.

Everything happens on the server's event loop except the call of the signature, which runs on a
thread. A queue belongs to one version, so a batch never mixes versions. TensorFlow's own batching
in the graph (`tf.nondifferentiable_batch_function`) cannot replace it: it refuses requests of
unequal widths, fails a whole batch for one bad request, and holds a thread per waiting request.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from serving.server import batching_parameters, refusals
from serving.server.metrics import Metrics

Arrays = Mapping[str, npt.NDArray[Any]]
Run = Callable[[Arrays], dict[str, Any]]


@dataclass(eq=False)
class _Task:
    inputs: Arrays
    rows: int
    widths: tuple[tuple[int, ...], ...]
    longest: int
    answer: asyncio.Future[dict[str, Any]]
    arrived: float


class BatchQueue:
    """Requests to one signature of one version; `run` calls the signature on a thread."""

    def __init__(
        self,
        run: Run,
        parameters: batching_parameters.BatchingParameters,
        threads: Executor,
        metrics: Metrics,
    ) -> None:
        self._run = run
        self._parameters = parameters
        self._threads = threads
        self._metrics = metrics
        self._waiting: deque[_Task] = deque()
        self._num_running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._batches: set[asyncio.Task[None]] = set()

    async def answer(self, inputs: Arrays) -> dict[str, Any]:
        """Runs a request, in a batch with others if there are any.

        Args:
            inputs: `[rows, ...]`; they fit the signature.

        Raises:
            Refusal: the request has more rows than a batch may have, or the queue is full.
        """
        rows = len(next(iter(inputs.values())))
        limit = self._parameters.max_batch_size
        if rows > limit:
            raise refusals.invalid(
                f"Task size {rows} is larger than maximum input batch size {limit}"
            )
        waiting_rows = sum(task.rows for task in self._waiting)
        room = (self._parameters.max_enqueued_batches - self._num_running) * limit
        if waiting_rows + rows > room:
            raise refusals.Refusal(
                grpc.StatusCode.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full",
            )
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        task = _Task(inputs, rows, widths_of(inputs), longest_of(inputs), answer, time.monotonic())
        self._waiting.append(task)
        self._start_batches()
        return await answer

    def _start_batches(self) -> None:
        """Starts the batches that are due, as long as threads are free."""
        while self._waiting and self._num_running < self._parameters.num_threads:
            full = sum(task.rows for task in self._waiting) >= self._parameters.max_batch_size
            due = self._waiting[0].arrived + self._parameters.timeout_s - time.monotonic()
            if not full and due > 0:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(due, self._on_timer)
                return
            batch = self._next_batch()
            if batch:
                self._num_running += 1
                running = asyncio.create_task(self._run_on(batch))
                self._batches.add(running)
                running.add_done_callback(self._batches.discard)

    def _on_timer(self) -> None:
        self._timer = None
        self._start_batches()

    def _next_batch(self) -> list[_Task]:
        """Takes the oldest requests that fit into one batch; drops those of gone clients."""
        batch: list[_Task] = []
        while self._waiting:
            task = self._waiting[0]
            if task.answer.done():
                self._waiting.popleft()
            elif batch and not self._fits([*batch, task]):
                break
            else:
                batch.append(self._waiting.popleft())
        return batch

    def _fits(self, batch: list[_Task]) -> bool:
        """Whether requests may share a batch, within the limits of its padded size."""
        rows = sum(task.rows for task in batch)
        if rows > self._parameters.max_batch_size:
            return False
        if not self._parameters.pad_widths and len({task.widths for task in batch}) > 1:
            return False
        widest = max(
            math.prod(map(max, zip(*shapes, strict=True)))
            for shapes in zip(*(task.widths for task in batch), strict=True)
        )
        size = self._parameters.padded_rows(rows) * widest
        return (
            size <= refusals.MAX_VALUES
            and size * max(task.longest for task in batch) <= refusals.MAX_BATCH_BYTES
        )

    async def _run_on(self, batch: list[_Task]) -> None:
        """Answers a batch, then starts batches that waited for its thread."""
        now = time.monotonic()
        for task in batch:
            self._metrics.queuing_latency.observe((now - task.arrived) * 1e6)
        try:
            await self._run_batch(batch)
        finally:
            self._num_running -= 1
        self._start_batches()

    async def _run_batch(self, batch: list[_Task]) -> None:
        """Runs requests together, or each alone if that fails, so that only bad requests fail."""
        rows = [task.rows for task in batch]
        num_rows = self._parameters.padded_rows(sum(rows)) if self._fits(batch) else sum(rows)
        self._metrics.wrapped_run_count.inc()

        def run() -> dict[str, Any]:
            return self._run(join([task.inputs for task in batch], num_rows))

        answers: list[Any]
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(self._threads, run)
            answers = split(outputs, rows)
        except Exception as error:
            if len(batch) > 1:
                for task in batch:
                    await self._run_batch([task])
                return
            answers = [error]
        for task, answer in zip(batch, answers, strict=True):
            if task.answer.done():  # its client has disconnected
                continue
            if isinstance(answer, Exception):
                task.answer.set_exception(answer)
            else:
                task.answer.set_result(answer)


def widths_of(inputs: Arrays) -> tuple[tuple[int, ...], ...]:
    """The sizes after the rows of each input, in order of the inputs' names."""
    return tuple(inputs[name].shape[1:] for name in sorted(inputs))


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
    shapes = [tensor.shape[1:] for tensor in tensors]
    widest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    padded = [tensor if tensor.shape[1:] == widest else _pad(tensor, widest) for tensor in tensors]
    missing = num_rows - sum(len(tensor) for tensor in padded)
    if missing:
        padded.append(np.repeat(padded[-1][:1], missing, axis=0))
    return padded[0] if len(padded) == 1 else np.concatenate(padded)


def _pad(tensor: npt.NDArray[Any], widths: tuple[int, ...]) -> npt.NDArray[Any]:
    wide = np.full((len(tensor), *widths), tensor.reshape(-1)[0], tensor.dtype)
    wide[tuple(slice(size) for size in tensor.shape)] = tensor
    return wide
