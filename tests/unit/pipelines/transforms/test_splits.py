import random

import numpy as np
import pyarrow as pa
import pytest

from pipelines.transforms.cutoffs import DAY_S, find_cut_days, find_cut_seconds
from pipelines.transforms.splits import (
    NO_RECORD,
    Cutoffs,
    given_cutoffs,
    last_counts,
    split_by_names,
    split_by_order,
)
from tests.reference.splits import per_query_last, temporal_cutoffs
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.specs import SPLITS, GivenSplit, PerQueryLastSplit, TemporalSplit


def last(test, validation):
    return PerQueryLastSplit(kind="per_query_last", test=test, validation=validation)


def test_shares_round_down_without_the_noise_of_floats():
    assert last_counts(last(0.2, 0.1), 14) == (1, 2)  # floor(1.4), floor(2.8)
    assert last_counts(last(0.29, 0.1), 100) == (10, 29)  # 0.29 * 100 is 28.999999999999996


def test_a_query_that_would_lose_all_training_events_stays_in_train():
    assert last_counts(last(1, 1), 2) == (0, 0)
    assert last_counts(last(1, 1), 3) == (1, 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shares", [(1, 1), (2, 3), (0.2, 0.1), (0.5, 0.4), (0, 1), (0, 0)])
def test_the_last_events_agree_with_the_definition(seed, shares):
    dice = random.Random(seed)
    order = [(dice.randrange(20), position) for position in range(dice.randrange(1, 40))]
    dice.shuffle(order)
    order.sort()
    # Another query before it, which stays in train.
    codes = split_by_order(last(*shares), np.array([0, 1, 1 + len(order)]))
    expected = per_query_last([(0, 0)], *shares) + per_query_last(order, *shares)
    assert [SPLITS[code] for code in codes] == expected


@pytest.mark.parametrize("seed", range(5))
def test_cutoffs_agree_with_sorting_everything(seed):
    dice = random.Random(seed)
    times = [dice.randrange(5 * DAY_S) // 1000 * 1000 for _ in range(dice.randrange(1, 400))]
    shares = (0.3, 0.2)
    days, seconds = {}, {}
    for time in times:
        days[time // DAY_S] = days.get(time // DAY_S, 0) + 1
        seconds[time] = seconds.get(time, 0) + 1
    cutoffs = find_cut_seconds(seconds, find_cut_days(days, shares))
    assert (cutoffs.validation_from, cutoffs.test_from) == temporal_cutoffs(times, 0.2, 0.1)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [((0.0, 0.0), (26, 26)), ((0.5, 0.0), (20, 26)), ((0.5, 0.5), (20, 20))],
)
def test_a_share_of_nothing_is_cut_off_after_the_last_event(shares, expected):
    seconds = {10: 2, 20: 1, 25: 1}
    cutoffs = find_cut_seconds(seconds, find_cut_days({0: 4}, shares))
    assert (cutoffs.validation_from, cutoffs.test_from) == expected


def test_a_cutoff_belongs_to_the_later_side():
    cutoffs = Cutoffs(validation_from=10, test_from=20)
    assert [cutoffs.split_at(time) for time in (9, 10, 19, 20)] == [0, 1, 1, 2]


def test_iso_cutoffs():
    split = TemporalSplit(
        kind="temporal", validation_from="2011-01-01", test_from="2011-01-02T00:00:00Z"
    )
    assert given_cutoffs(split) == Cutoffs(1293840000, 1293840000 + DAY_S)


@pytest.mark.parametrize(
    ("validation_from", "test_from", "message"),
    [
        ("soon", "2011-01-01", "split.validation_from: found 'soon', not an ISO 8601 time"),
        ("2012-01-01", "2011-01-01", "validation_from 2012-01-01 is after test_from"),
    ],
)
def test_iso_cutoffs_that_make_no_sense(validation_from, test_from, message):
    split = TemporalSplit(kind="temporal", validation_from=validation_from, test_from=test_from)
    with pytest.raises(FeatureSpecError, match=message):
        given_cutoffs(split)


def test_given_names():
    split = GivenSplit(kind="given", validation="dev")
    names = pa.array(["train", None, "dev", "validation", "test"], pa.string())
    codes, reasons = split_by_names(split, names)
    assert codes.tolist() == [0, -1, 1, -1, 2]
    assert reasons == [NO_RECORD, "split 'validation' is none of train, dev, test"]
