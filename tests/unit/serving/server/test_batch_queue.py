"""Requests that are put together and apart, and a queue of them with a signature in NumPy."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from serving.bundle.server_files import BatchingParameters
from serving.server.batch_queue import BatchQueue, join, longest_of, split
from serving.server.metrics import Metrics
from serving.server.refusals import MAX_VALUES, Refusal

SIZES = (1, 2, 4)


class Doubler:
    """Doubles numbers, refuses a batch with a negative one, and records its batches."""

    def __init__(self):
        self.batches = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, inputs):
        assert self.go.wait(10)
        self.batches.append({name: values.tolist() for name, values in inputs.items()})
        if (inputs["x"] < 0).any():
            raise ValueError("a negative number")
        return {"y": 2 * inputs["x"]}


def play(script, timeout_s=0.02, max_enqueued_batches=10, pad_widths=True):
    """Runs `script(queue, doubler)` and returns the batches of the doubler."""
    doubler = Doubler()
    parameters = BatchingParameters(4, timeout_s, max_enqueued_batches, 1, SIZES, pad_widths)

    async def main(threads):
        return await script(BatchQueue(doubler, parameters, threads, Metrics()), doubler)

    with ThreadPoolExecutor(1) as threads:
        result = asyncio.run(main(threads))
    return result, doubler.batches


def ask(queue, *rows):
    return asyncio.ensure_future(queue.answer({"x": np.array(rows, np.float32)}))


def test_requests_run_together_and_are_filled_up():
    async def script(queue, _):
        answers = await asyncio.gather(ask(queue, [1.0]), ask(queue, [2.0], [3.0]))
        return [answer["y"].tolist() for answer in answers]

    answers, batches = play(script)
    assert answers == [[[2]], [[4], [6]]]
    assert batches == [{"x": [[1], [2], [3], [2]]}]


def test_a_full_batch_does_not_wait():
    async def script(queue, _):
        tasks = [ask(queue, [float(n)]) for n in range(5)]
        await asyncio.wait_for(asyncio.gather(*tasks[:4]), 5)
        assert not tasks[4].done()
        tasks[4].cancel()

    _, batches = play(script, timeout_s=60.0)
    assert batches == [{"x": [[0], [1], [2], [3]]}]


def test_requests_that_together_exceed_a_batch_run_apart():
    async def script(queue, _):
        tasks = [ask(queue, [n], [n], [n]) for n in (1.0, 2.0)] + [ask(queue, [3.0])]
        return [answer["y"].ravel().tolist() for answer in await asyncio.gather(*tasks)]

    answers, batches = play(script)
    assert answers == [[2, 2, 2], [4, 4, 4], [6]]
    assert [len(batch["x"]) for batch in batches] == [4, 4]  # 3 filled up, and 3 with 1


def test_one_bad_request_fails_alone():
    async def script(queue, _):
        tasks = [ask(queue, [1.0]), ask(queue, [-1.0]), ask(queue, [3.0])]
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers, batches = play(script)
    assert answers[0]["y"].tolist() == [[2]]
    assert isinstance(answers[1], ValueError)
    assert answers[2]["y"].tolist() == [[6]]
    assert len(batches) == 4


def test_widths_are_padded_only_where_the_parameters_say_so():
    async def script(queue, _):
        tasks = [ask(queue, [1.0, 5.0]), ask(queue, [2.0])]
        return [answer["y"].tolist() for answer in await asyncio.gather(*tasks)]

    answers, batches = play(script)
    assert answers == [[[2, 10]], [[4, 4]]]
    assert len(batches) == 1
    answers, batches = play(script, pad_widths=False)
    assert answers == [[[2, 10]], [[4]]]
    assert len(batches) == 2


def test_a_full_queue_is_unavailable_and_recovers():
    async def script(queue, doubler):
        doubler.go.clear()
        tasks = [ask(queue, [1.0], [1.0], [1.0], [1.0]) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert tasks[2].done()
        with pytest.raises(Refusal, match="is full") as caught:
            await tasks[2]
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE
        doubler.go.set()
        await asyncio.gather(*tasks[:2])
        await ask(queue, [1.0])

    play(script, timeout_s=0.0, max_enqueued_batches=2)


def test_a_client_that_left_is_not_run():
    async def script(queue, doubler):
        doubler.go.clear()
        running = ask(queue, [1.0], [1.0], [1.0], [1.0])
        left = ask(queue, [7.0])
        await asyncio.sleep(0.01)
        left.cancel()
        doubler.go.set()
        await running
        await ask(queue, [2.0])

    _, batches = play(script)
    assert [7.0] not in [row for batch in batches for row in batch["x"]]


def test_too_many_rows_are_refused():
    async def script(queue, _):
        with pytest.raises(Refusal, match="Task size 5 is larger than maximum"):
            await ask(queue, *[[1.0]] * 5)

    play(script)


def test_what_padding_would_make_huge_runs_as_it_is():
    async def script(queue, _):
        wide, narrow = [1.0] * (MAX_VALUES // 4 + 1), [1.0]
        tasks = [ask(queue, wide, wide, wide), ask(queue, narrow)]
        return [answer["y"].shape for answer in await asyncio.gather(*tasks)]

    shapes, batches = play(script)
    assert shapes == [(3, MAX_VALUES // 4 + 1), (1, 1)]
    assert [len(batch["x"]) for batch in batches] == [3, 1]


def test_long_strings_are_not_multiplied():
    long = np.full((1, 1), b"x" * 60_000, object)
    wide = np.full((1, 1000), b"y", object)
    assert longest_of({"x": long, "n": np.zeros(3)}) == 60_000
    shapes = []

    def run(inputs):
        shapes.append(inputs["x"].shape)
        return {"y": inputs["x"][:, 0]}

    async def main(threads):
        parameters = BatchingParameters(4, 0.01, 10, 1, SIZES, pad_widths=True)
        queue = BatchQueue(run, parameters, threads, Metrics())
        await asyncio.gather(queue.answer({"x": long}), queue.answer({"x": wide}))

    with ThreadPoolExecutor(1) as threads:
        asyncio.run(main(threads))
    assert shapes == [(1, 1), (1, 1000)]


def strings(*rows):
    return np.array([[name.encode() for name in row] for row in rows], object)


def test_a_request_is_padded_with_its_own_first_element():
    # Two requests of 1 and 2 rows, widths 3 and 1, filled up to 4 rows.
    first = {"x": strings("abc"), "n": np.array([1.0], np.float32)}
    second = {"x": strings("d", "e"), "n": np.array([2.0, 3.0], np.float32)}
    batch = join([first, second], 4)
    assert batch["x"].tolist() == strings("abc", "ddd", "edd", "ddd").tolist()
    assert batch["n"].tolist() == [1, 2, 3, 2]
    assert batch["n"].dtype == np.float32


def test_a_request_that_fits_is_left_alone():
    inputs = {"x": strings("ab")}
    assert join([inputs], 1)["x"] is inputs["x"]


def test_every_request_gets_its_rows():
    outputs = {"y": np.arange(10).reshape(5, 2)}
    parts = split(outputs, [1, 3])
    assert [part["y"].tolist() for part in parts] == [[[0, 1]], [[2, 3], [4, 5], [6, 7]]]
