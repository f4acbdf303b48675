import random

import pytest

from pipelines.transforms.query_examples import Past, latest_candidates
from tests.reference.histories import distinct_latest_first


def test_a_repeat_stands_once_at_its_latest_place():
    events = [Past(1, "a", True), Past(2, "b", True), Past(3, "a", True), Past(4, "x", True)]
    assert latest_candidates(events) == ("x", "a", "b")
    assert latest_candidates(events, 2) == ("x", "a")


@pytest.mark.parametrize("seed", range(5))
def test_histories_agree_with_the_definition(seed):
    dice = random.Random(seed)
    events = sorted(
        (dice.randrange(12), position, f"c{dice.randrange(8)}", dice.random() < 0.7)
        for position in range(60)
    )
    past = [Past(time, candidate_id, counts) for time, _, candidate_id, counts in events]
    assert list(latest_candidates(past)) == distinct_latest_first(events)
