"""Global cut-offs by share, worked out by hand."""

import pyarrow as pa
import pytest
from apache_beam import Create

from pipelines.transforms import batches
from pipelines.transforms.cutoffs import (
    DAY_S,
    AddSplitTime,
    FindCutoffs,
    SummariseWindows,
    merge_windows,
    training_end,
    window_times,
)
from pipelines.transforms.splits import Cutoffs
from tests.unit.pipelines.transforms.event_tables import (
    check_rows,
    events_table,
    read_events,
    read_table,
    rows_of,
    run_beam,
)
from tfrs_twotower.specs import SPLITS, TemporalSplit


def found_for(times, **shares):
    split = TemporalSplit(kind="temporal", **shares)
    parts = [
        batches.packed(pa.table({batches.SPLIT_TIME: pa.array(some, pa.int64())}))
        for some in (times[::2], times[1::2])
    ]
    (cutoffs,) = run_beam(lambda root: {"cut": root | Create(parts) | FindCutoffs(split)})["cut"]
    return cutoffs


def test_ten_events_over_days():
    # floor(0.7 x 10) = 7 and floor(0.8 x 10) = 8: the eighth and the ninth event, from 1.
    times = [3 * DAY_S, 5, DAY_S, 2, 7, 3 * DAY_S + 1, 1, 2 * DAY_S, 9, DAY_S + 4]
    cutoffs = found_for(times, test_fraction=0.2, validation_fraction=0.1)
    assert cutoffs == Cutoffs(validation_from=2 * DAY_S, test_from=3 * DAY_S)
    names = [SPLITS[cutoffs.split_at(time)] for time in sorted(times)]
    assert names == ["train"] * 7 + ["validation"] + ["test"] * 2


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 6, 6, 7, 7], Cutoffs(6, 7)),  # three events at 6 s are validation
        ([1, 2, 3, 7, 7, 7, 7, 7, 7, 7], Cutoffs(7, 7)),  # no validation: they are all test
        ([5], Cutoffs(5, 5)),
    ],
)
def test_events_of_one_second_are_never_parted(times, expected):
    assert found_for(times, test_fraction=0.2, validation_fraction=0.2) == expected


def test_no_event():
    assert found_for([]) == Cutoffs(0, 0)


TRAIN, VALIDATION, TEST = (5, 4, 100, 190), (2, 1, 150, 250), (3, 3, 200, 260)


def test_a_window_spans_all_its_parts_and_an_empty_part_has_no_time():
    assert merge_windows([(2, 1, 7, 9), (0, 0, 0, 0), (3, 3, 5, 8)]) == (5, 4, 5, 9)
    assert merge_windows([(0, 0, 0, 0)]) == merge_windows([]) == (0, 0, 0, 0)
    assert merge_windows([(1, 0, -9, -8), (0, 0, 0, 0)]) == (1, 0, -9, -8)


def test_windows_are_of_each_split():
    parts = [(0, (2, 1, 7, 9)), (2, (1, 1, 30, 30)), (0, (3, 3, 5, 8)), (2, (1, 0, 40, 40))]
    found = run_beam(lambda root: {"windows": root | Create(parts) | SummariseWindows()})
    assert found["windows"] == [{0: (5, 4, 5, 9), 2: (2, 1, 30, 40)}]


def test_the_training_window_ends_at_the_cutoff_or_just_after_its_last_event():
    assert training_end({0: TRAIN}, 170) == 170
    assert training_end({0: TRAIN, 1: VALIDATION}, None) == 191
    assert training_end({1: VALIDATION}, None) == 0


def test_ends_of_windows_are_exclusive():
    windows = {0: TRAIN, 1: VALIDATION, 2: TEST}
    assert window_times(windows, None) == {
        "train_start": 100,
        "train_end": 191,
        "validation_end": 251,
        "test_end": 261,
    }
    assert window_times(windows, Cutoffs(validation_from=180, test_from=195)) == {
        "train_start": 100,
        "train_end": 180,
        "validation_end": 195,
        "test_end": 261,
    }


def test_splits_without_events_have_no_times():
    assert window_times({2: TEST}, None) == {"test_end": 261}
    assert window_times({0: TRAIN}, Cutoffs(195, 200)) == {
        "train_start": 100,
        "train_end": 195,
        "validation_end": 200,
    }


EVENTS = """
    query  candidate  time  session
    q      a          12    s
    q      b          9     s
    r      c          30    s
    q      d          7     t
    q      e          20    -
    q      f          8     -
    r      g          8     -
"""


@pytest.mark.parametrize(
    ("by_session", "split_times"),
    [(True, (9, 9, 9, 7, 20, 8, 8)), (False, (12, 9, 30, 7, 20, 8, 8))],
)
def test_events_of_a_session_share_the_time_of_its_first_over_all_queries(by_session, split_times):
    events = read_events(EVENTS)
    parts = [batches.packed(events_table(some)) for some in (events[:3], events[3:])]
    found = run_beam(
        lambda root: {"timed": root | "Events" >> Create(parts) | AddSplitTime(by_session, 2)}
    )
    expected = [
        {"candidate": row["candidate"], "time": row["time"], "split_time": str(split_time)}
        for row, split_time in zip(read_table(EVENTS), split_times, strict=True)
    ]
    rows = [
        {
            "candidate": row["candidate_id"],
            "time": str(row["timestamp"]),
            "split_time": str(row["split_time"]),
        }
        for row in rows_of(found["timed"])
    ]
    check_rows(rows, expected)
