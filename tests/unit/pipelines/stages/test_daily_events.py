"""The columns of a daily run's events, against loops over single ones."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa

from pipelines.stages.daily_events import Events, NewEvent
from pipelines.transforms.splits import last_counts
from tfrs_twotower.specs import SPLITS, TEST, TRAIN, VALIDATION, PerQueryLastSplit

RULE = PerQueryLastSplit(kind="per_query_last", test=0.2, validation=0.2)


def events_of(rows):
    """Events from rows `query, candidate, time, window`."""
    queries, candidates, times, windows = zip(*rows, strict=True)
    ones = np.ones(len(rows))
    return Events(
        pa.array(queries),
        pa.array(candidates),
        np.array(times, np.int64),
        ones,
        ones,
        np.array(windows, np.int64),
        pa.array([SPLITS[window] for window in windows]),
    )


def new_event(query, candidate, time, position=0):
    return NewEvent(time, position, query, candidate, "", 1.0, 1.0)


def test_an_event_is_new_as_often_as_it_is_not_here():
    here = events_of([("q", "a", 5, TRAIN), ("q", "a", 5, TRAIN), ("r", "a", 5, TRAIN)])
    found = [
        *[new_event("q", "a", 5)] * 3,  # two of them are here
        new_event("q", "b", 5),
        new_event("q", "a", 6),
        new_event("s", "a", 5),
        new_event("q", "unknown", 7),
    ]
    missing = here.not_in(found, pa.array(["a", "b"]))
    assert [event[2:4] + event[:1] for event in missing] == [
        ("q", "a", 5),
        ("q", "b", 5),
        ("q", "a", 6),
        ("s", "a", 5),
    ]
    assert here.not_in([], pa.array(["a"])) == []


def test_windows_are_those_of_a_loop_over_the_queries_with_new_events():
    dice = random.Random(3)
    rows = [
        (f"q{dice.randrange(30)}", f"c{n}", dice.randrange(40), dice.randrange(3))
        for n in range(400)
    ]
    new = [new_event(f"q{dice.randrange(12)}", f"d{n}", 30 + dice.randrange(20)) for n in range(25)]
    events = events_of(rows).with_new(new)
    found = events.last_of_each_query(RULE)
    queries = events.query_ids.to_pylist()
    expected = events.windows.copy()
    for query in {event.query_id for event in new}:
        own = [row for row, one in enumerate(queries) if one == query]
        own.sort(key=lambda row: (events.timestamps[row], row))
        validation, test = last_counts(RULE, len(own))
        for place, row in enumerate(own):
            left = len(own) - place
            window = TEST if left <= test else VALIDATION if left <= test + validation else TRAIN
            expected[row] = min(window, events.windows[row])
    assert found.tolist() == expected.tolist()
    assert Counter(found.tolist())[len(SPLITS)] == 0  # every new event has a window
    untouched = [row for row, one in enumerate(queries) if int(one[1:]) >= 12]
    assert untouched
    assert found[untouched].tolist() == events.windows[untouched].tolist()
