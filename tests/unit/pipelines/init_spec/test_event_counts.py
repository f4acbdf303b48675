"""What `init` counts in all events, and the split that it chooses by it."""

import numpy as np
import pytest

from pipelines.init_spec import event_counts, event_patterns, samples, split_choice
from tests.unit.pipelines.init_spec.tables import write_csv
from tfrs_twotower import specs

DAY = 86_400
START = 1_700_000_000


def events_of(queries, candidates, times=None, positive=None):
    """Events in the order of time, as `count_events` gives them."""
    queries = np.asarray(queries)
    order = np.argsort(np.zeros(len(queries)) if times is None else times, kind="stable")
    return event_counts.Events(
        queries[order],
        np.asarray(candidates)[order],
        np.zeros(len(queries), np.int64) if times is None else np.asarray(times)[order],
        (np.ones(len(queries), bool) if positive is None else np.asarray(positive))[order],
        np.full(len(queries), -1, np.int8),
        tuple(str(query) for query in range(int(queries.max()) + 1)),
    )


def test_all_events_are_counted_beyond_the_sample(tmp_path):
    rows = [(f"u{i % 7}", f"i{i % 11}", START + i, i % 5) for i in range(400)]
    rows[10] = ("", "i1", START, 4)  # nobody's
    rows[11] = ("u1", "i1", "some day", 4)  # no time
    rows[12] = ("guest", "i1", START, 4)  # left out
    path = write_csv(tmp_path / "events.csv", ("who", "what", "when", "stars"), rows)
    sample = samples.read_sample(path, max_records=50)
    assert not sample.complete
    events = event_counts.count_events(
        sample,
        event_counts.EventColumns(
            *("who", "what", "when", "s", "stars"),
            smallest_positive=4.0,
            left_out={"who": ("guest",)},
        ),
    )
    assert (events.num_events, events.complete) == (397, True)
    assert len(events.query_ids) == 7
    assert events.positive.sum() == sum(i % 5 == 4 for i in range(400) if i not in (10, 11, 12))
    assert (np.diff(events.times) >= 0).all()


def test_what_a_split_holds_out_by_hand():
    #                  train ........  | validation | test
    queries, candidates = [0, 0, 1, 1, 0, 0, 1, 2, 0], [0, 1, 0, 2, 2, 1, 3, 0, 3]
    times = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    positive = [1, 1, 1, 0, 1, 1, 1, 1, 1]
    events = events_of(queries, candidates, times, np.array(positive, bool))
    split = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    assert event_counts.hold_out(events, split) == event_counts.HeldOut(
        num_examples=3,  # the fourth is not positive
        num_queries=2,
        num_validation=1,  # query 0 with candidate 2; candidate 1 is a repeat
        num_test=3,
        num_known_test=2,  # query 2 is new
        unknown_candidates=2 / 3,  # candidate 3, twice, and candidate 0
        questions_per_candidate=3 / 2,
    )
    assert events.queries_with_positive == 1.0


def test_the_splits_are_those_of_preprocessing():
    """Laws of `transforms/splits.py`: floors of shares, and short queries stay in train."""
    queries = [0] * 10 + [1] * 4 + [2]
    events = events_of(queries, range(15))
    shares = event_counts.last_of_each_query(events, 0.2, 0.1)
    assert list(shares[:10]) == [specs.TRAIN] * 7 + [specs.VALIDATION] + [specs.TEST] * 2
    assert list(shares[10:]) == [specs.TRAIN] * 5  # a fifth of four is none
    numbers = event_counts.last_of_each_query(events, 1, 1)
    assert list(numbers[10:14]) == [specs.TRAIN] * 2 + [specs.VALIDATION, specs.TEST]
    assert numbers[14] == specs.TRAIN
    latest = event_counts.latest_events(events_of([0] * 10, range(10), np.arange(10)), 0.2, 0.1)
    assert list(latest) == [specs.TRAIN] * 7 + [specs.VALIDATION] + [specs.TEST] * 2


def buyers(num_queries, days, returning=True, per_query=6, seed=0):
    """Events over a span of days; without return each query has all of its own on one day."""
    draw = np.random.default_rng(seed)
    queries = np.repeat(np.arange(num_queries), per_query)
    day = draw.random(len(queries)) if returning else draw.random(num_queries)[queries]
    times = START + (day * days * DAY).astype(np.int64)
    return events_of(queries, draw.integers(0, 500, len(queries)), times)


@pytest.mark.parametrize(
    ("events", "kind", "values"),
    [
        (buyers(3000, 300), "temporal", {"test_fraction": 0.1, "validation_fraction": 0.1}),
        (buyers(700, 300), "temporal", {"test_fraction": 0.2, "validation_fraction": 0.1}),
        (buyers(50, 300), "temporal", {"test_fraction": 0.2, "validation_fraction": 0.1}),
        (buyers(3000, 300, returning=False), "per_query_last", {"test": 1, "validation": 1}),
        (buyers(3000, 3), "per_query_last", {"test": 1, "validation": 1}),
        (buyers(300, 3, per_query=30), "per_query_last", {"test": 0.2, "validation": 0.1}),
        (events_of([0, 1] * 20, range(40)), "per_query_last", {"test": 0.2, "validation": 0.1}),
    ],
)
def test_the_split_leaves_enough_to_judge_by(events, kind, values):
    chosen = split_choice.choose_split(events)
    assert (chosen.kind, chosen.values) == (kind, values)


def test_few_return_though_many_events_follow():
    """Of the last queries two fifths return, but these are too few to test."""
    many = buyers(3000, 300, returning=False)
    few = buyers(200, 60)
    late = few.times + 240 * DAY
    both = events_of(
        np.concatenate([many.queries, few.queries + 3000]),
        np.concatenate([many.candidates, few.candidates]),
        np.concatenate([many.times, late]),
    )
    chosen = split_choice.choose_split(both)
    assert chosen.kind == "per_query_last"
    assert "a split in time leaves" in chosen.reason
    assert chosen.held_out.num_known_test >= split_choice.ENOUGH_TEST_QUERIES


def test_demand_that_moves_is_seen():
    draw = np.random.default_rng(1)
    times = START + np.sort(draw.integers(0, 300 * DAY, 20_000))
    queries = draw.integers(0, 2000, len(times))
    season = (times - START) // (45 * DAY) * 100  # another hundred every 45 days
    moving = season + draw.integers(0, 100, len(times))
    train = np.zeros(len(times), np.int8)
    assert event_patterns.drift(events_of(queries, moving, times), train) > 2
    steady = np.minimum(draw.zipf(1.3, len(times)), 1000)
    assert event_patterns.drift(events_of(queries, steady, times), train) == pytest.approx(1, 0.05)
    assert event_patterns.drift(events_of(queries, steady), train) is None  # no times
    assert event_patterns.drift(events_of(queries, moving, times), train + 2) is None  # only test


def chains(follow, seed=2):
    """Queries that walk through 30 rooms of 20 candidates; `follow` stays in the room."""
    draw = np.random.default_rng(seed)
    queries, candidates = [], []
    for query in range(600):
        room = draw.integers(30)
        for _ in range(12):
            room = room if draw.random() < follow else draw.integers(30)
            queries.append(query)
            candidates.append(room * 20 + draw.integers(20))
    times = START + np.arange(len(queries)) * 60
    return events_of(queries, candidates, times)


def test_whether_recent_events_tell_more():
    walk, rest = chains(0.8), chains(0.0)
    train = np.zeros(walk.num_events, np.int8)
    assert event_patterns.recency(walk, train) > 1.4
    assert event_patterns.recency(rest, train) == pytest.approx(1.0, abs=0.35)
    sameness = events_of(walk.queries, walk.candidates, np.full(walk.num_events, START))
    assert event_patterns.recency(sameness, train) is None  # nothing is earlier


def test_the_query_itself_makes_no_two_candidates_near():
    """Two queries of disjoint candidates: only they choose each pair, so nothing is near."""
    queries = np.repeat([0, 1], 300)
    events = events_of(queries, np.arange(600), START + np.arange(600))
    assert event_patterns.recency(events, np.zeros(600, np.int8)) is None
