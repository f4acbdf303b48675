import random

import numpy as np
import pytest

from pipelines.transforms.histories import Stream
from tests.reference.histories import distinct_latest_first, history_before


def histories_of(events, moments, length):
    """Candidates before each moment, for events of one query, `(time, candidate)`."""
    names = sorted({candidate for _, candidate in events})
    codes = np.array([names.index(candidate) for _, candidate in events], np.int64)
    ends = np.searchsorted([time for time, _ in events], moments)
    stream = Stream(np.zeros(len(events), np.int64), codes, 1)
    offsets, found = stream.histories(np.zeros_like(ends), ends, length)
    lists = np.split(found, offsets[1:-1])
    return [tuple(names[code] for code in one) for one in lists]


def test_an_event_sees_strictly_earlier_ones_most_recent_first():
    events = [(1, "a"), (2, "b"), (2, "c"), (3, "d")]
    found = histories_of(events, [1, 2, 2, 3], 10)
    assert found == [(), ("a",), ("a",), ("c", "b", "a")]


def test_a_repeat_stands_once_at_its_latest_place():
    events = [(1, "a"), (2, "b"), (3, "a"), (4, "x")]
    assert histories_of(events, [3, 4, 5], 10) == [("b", "a"), ("a", "b"), ("x", "a", "b")]


def test_only_the_most_recent_are_kept():
    events = [(time, f"c{time}") for time in range(6)]
    assert histories_of(events, [5], 2) == [("c4", "c3")]


def test_queries_do_not_see_each_other():
    query, candidate = np.array([0, 0, 2, 2]), np.array([5, 6, 6, 5])
    stream = Stream(query, candidate, 3)
    offsets, found = stream.histories(stream.starts[:-1], stream.starts[1:], 10)
    assert (offsets.tolist(), found.tolist()) == ([0, 2, 2, 4], [6, 5, 5, 6])


def test_many_histories_are_cut_in_parts(monkeypatch):
    monkeypatch.setattr("pipelines.transforms.histories._AT_ONCE", 2)
    events = [(time, f"c{time}") for time in range(6)]
    expected = [tuple(f"c{at}" for at in range(end - 1, -1, -1))[:3] for end in range(7)]
    assert histories_of(events, range(7), 3) == expected


@pytest.mark.parametrize("seed", range(5))
def test_histories_agree_with_the_definition(seed):
    dice = random.Random(seed)
    events = sorted(
        (dice.randrange(12), position, f"c{dice.randrange(8)}", True) for position in range(60)
    )
    past = [(time, candidate) for time, _, candidate, _ in events]
    for length in (1, 3, 50):
        before = histories_of(past, [time for time, _ in past], length)
        assert before == [history_before(events, one, length) for one in events]
    (every,) = histories_of(past, [99], 100)
    assert list(every) == distinct_latest_first(events)
