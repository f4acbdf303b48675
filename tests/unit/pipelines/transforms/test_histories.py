import random

import pytest

from pipelines.transforms.query_examples import Past, histories_before, latest_candidates, without
from tests.reference.histories import (
    distinct_latest_first,
    history_before,
    history_leave_one_out,
)


def test_an_event_sees_strictly_earlier_ones_most_recent_first():
    events = [Past(1, "a", True), Past(2, "b", True), Past(2, "c", True), Past(3, "d", True)]
    assert list(histories_before(events, 10)) == [(), ("a",), ("a",), ("c", "b", "a")]


def test_a_repeat_stands_once_at_its_latest_place():
    events = [Past(1, "a", True), Past(2, "b", True), Past(3, "a", True), Past(4, "x", True)]
    assert list(histories_before(events, 10))[3] == ("a", "b")
    assert latest_candidates(events) == ("x", "a", "b")


def test_what_does_not_count_is_not_shown():
    events = [Past(1, "a", False), Past(2, "b", True), Past(3, "c", True)]
    assert list(histories_before(events, 10)) == [(), (), ("b",)]


def test_only_the_most_recent_are_kept():
    events = [Past(time, f"c{time}", True) for time in range(6)]
    assert list(histories_before(events, 2))[5] == ("c4", "c3")
    assert without(("c5", "c4", "c3"), "c4", 2) == ("c5", "c3")


@pytest.mark.parametrize("seed", range(5))
def test_histories_agree_with_the_definition(seed):
    dice = random.Random(seed)
    events = sorted(
        (dice.randrange(12), position, f"c{dice.randrange(8)}", dice.random() < 0.7)
        for position in range(60)
    )
    past = [Past(time, candidate_id, counts) for time, _, candidate_id, counts in events]
    for length in (1, 3, 50):
        before = list(histories_before(past, length))
        assert before == [history_before(events, own, length) for own in events]
        latest = latest_candidates(past, length + 1)
        assert [without(latest, own[2], length) for own in events] == [
            history_leave_one_out(events, own, length) for own in events
        ]
    assert list(latest_candidates(past)) == distinct_latest_first(events)
