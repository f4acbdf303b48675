"""One signature's queue: requests wait a moment for others, and run together.

All of it happens on the server's event loop, but for the run itself, which is on a thread. A queue
belongs to one version, so that no batch mixes versions.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import grpc

from serving.server.batches import Arrays, join, longest_of, split, widths_of
from serving.server.batching_parameters import BatchingParameters
from serving.server.limits import MAX_BATCH_BYTES, MAX_VALUES
from serving.server.metrics import Metrics
from serving.server.refusals import Refusal, invalid
from serving.server.signatures import num_values

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
    """Requests to one signature of one version."""

    def __init__(
        self, run: Run, parameters: BatchingParameters, threads: Executor, metrics: Metrics
    ) -> None:
        """Starts with an empty queue.

        Args:
            run: the signature; called on a thread.
            parameters: of the version.
            threads: that run.
            metrics: that are told of waiting times.
        """
        self._run = run
        self._parameters = parameters
        self._threads = threads
        self._metrics = metrics
        self._waiting: deque[_Task] = deque()
        self._num_running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._batches: set[asyncio.Task[None]] = set()

    async def answer(self, inputs: Arrays) -> dict[str, Any]:
        """Runs a request, perhaps together with others.

        Args:
            inputs: `[rows, ...]`, which fit the signature.

        Raises:
            Refusal: more rows than a batch may have, or the queue is full.
        """
        rows = len(next(iter(inputs.values())))
        limit = self._parameters.max_batch_size
        if rows > limit:
            raise invalid(f"Task size {rows} is larger than maximum input batch size {limit}")
        waiting_rows = sum(task.rows for task in self._waiting)
        room = (self._parameters.max_enqueued_batches - self._num_running) * limit
        if waiting_rows + rows > room:
            raise Refusal(
                grpc.StatusCode.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full",
            )
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        task = _Task(inputs, rows, widths_of(inputs), longest_of(inputs), answer, time.monotonic())
        self._waiting.append(task)
        self._start_batches()
        return await answer

    def _start_batches(self) -> None:
        """Starts as many batches as are due and have a thread."""
        while self._waiting and self._num_running < self._parameters.num_threads:
            full = sum(task.rows for task in self._waiting) >= self._parameters.max_batch_size
            due = self._waiting[0].arrived + self._parameters.timeout_s - time.monotonic()
            if not full and due > 0:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(due, self._on_timer)
                return
            batch = self._take()
            if batch:
                self._num_running += 1
                running = asyncio.create_task(self._run_batch(batch))
                self._batches.add(running)
                running.add_done_callback(self._batches.discard)

    def _on_timer(self) -> None:
        self._timer = None
        self._start_batches()

    def _take(self) -> list[_Task]:
        """The oldest requests that fit into one batch; those whose client has gone are dropped."""
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
        """Whether requests may be put together and filled up."""
        rows = sum(task.rows for task in batch)
        if rows > self._parameters.max_batch_size:
            return False
        if not self._parameters.pad_widths and len({task.widths for task in batch}) > 1:
            return False
        widest = max(
            num_values(map(max, zip(*shapes, strict=True)))
            for shapes in zip(*(task.widths for task in batch), strict=True)
        )
        size = self._parameters.padded_rows(rows) * widest
        return size <= MAX_VALUES and size * max(task.longest for task in batch) <= MAX_BATCH_BYTES

    async def _run_batch(self, batch: list[_Task]) -> None:
        now = time.monotonic()
        for task in batch:
            self._metrics.queuing_latency.observe((now - task.arrived) * 1e6)
        try:
            answers = await self._run_together(batch)
        finally:
            self._num_running -= 1
        for task, answer in zip(batch, answers, strict=True):
            if task.answer.done():
                continue
            if isinstance(answer, Exception):
                task.answer.set_exception(answer)
            else:
                task.answer.set_result(answer)
        self._start_batches()

    async def _run_together(self, batch: list[_Task]) -> list[dict[str, Any] | Exception]:
        """Runs a batch; if it fails, each request alone, so that only the bad one fails."""
        try:
            outputs = await self._run_on_thread(batch)
            return list(split(outputs, [task.rows for task in batch]))
        except Exception as error:
            if len(batch) == 1:
                return [error]
        return [(await self._run_together([task]))[0] for task in batch]

    async def _run_on_thread(self, batch: list[_Task]) -> dict[str, Any]:
        rows = sum(task.rows for task in batch)
        if self._fits(batch):
            rows = self._parameters.padded_rows(rows)
        self._metrics.wrapped_run_count.add()

        def run() -> dict[str, Any]:
            return self._run(join([task.inputs for task in batch], rows))

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)
