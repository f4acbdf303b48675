"""What is kept of a query's events, split by split, worked out by hand."""

import itertools

from pipelines.transforms.query_events import EVALUATED
from tests.unit.pipelines.transforms.event_tables import collect, event_at, gather
from tfrs_twotower.specs import TEST, TRAIN, VALIDATION

EVENTS = """
    split       time  candidate  label
    test        7     t          5
    train       3     c          1
    train       1     a          5
    validation  5     v          4
    validation  4     w          1
    train       2     b          5
    validation  6     v          5
    train       2     a          3
"""


def candidates(events):
    return [event.candidate_id for event in events]


def test_each_split_is_in_the_order_of_time_and_then_of_the_source():
    events = gather(EVENTS)
    assert [candidates(of.kept) for of in events.splits] == [
        ["a", "b", "a", "c"],  # b and a at 2 s as they stand in the source
        ["w", "v", "v"],
        ["t"],
    ]


def test_an_earlier_split_sees_nothing_of_a_later_one():
    events = gather(EVENTS)
    assert candidates(events.before(TRAIN)) == []
    assert candidates(events.before(VALIDATION)) == ["a", "b", "a", "c"]
    assert candidates(events.before(TEST)) == ["a", "b", "a", "c", "w", "v", "v"]


def test_earlier_splits_are_one_row_of_events_even_where_they_overlap_in_time():
    events = gather("""
        split       time  candidate
        train       3     late
        validation  2     middle
        train       1     early
        test        1     test
    """)
    assert candidates(events.before(TEST)) == ["early", "middle", "late"]


def test_seen_are_candidates_of_earlier_splits_whatever_the_label():
    events = gather(EVENTS)
    assert events.seen_before(TRAIN) == set()
    assert events.seen_before(VALIDATION) == {"a", "b", "c"}  # c has label 1
    assert events.seen_before(TEST) == {"a", "b", "c", "v", "w"}  # but not t
    assert events.seen_before(TEST + 1) == {"a", "b", "c", "v", "w", "t"}  # a server is asked then


def test_counts_and_times_of_each_split():
    events = gather(EVENTS)
    assert [of.count for of in events.splits] == [4, 3, 1]
    assert [of.num_positives for of in events.splits] == [3, 2, 1]
    assert [(of.first_s, of.last_s) for of in events.splits] == [(1, 3), (4, 6), (7, 7)]
    assert [events.count_before(split) for split in (TRAIN, VALIDATION, TEST)] == [0, 4, 7]


def test_a_split_without_events():
    nothing = gather("split time candidate\ntest 1 a").splits[TRAIN]
    assert (nothing.count, nothing.first_s, nothing.last_s, nothing.kept) == (0, None, None, [])


def test_the_gain_of_a_candidate_is_its_highest_label_among_positive_events():
    events = gather("""
        split       time  candidate  label
        train       1     a          5
        validation  2     b          4
        validation  3     b          5
        validation  4     b          3
        validation  5     c          2
        test        6     a          3
        test        7     c          1
    """)
    assert [of.gains for of in events.splits] == [{}, {"b": 5}, {"a": 3}]
    assert list(EVALUATED) == [VALIDATION, TEST]


def test_only_the_most_recent_of_each_split_are_kept_and_the_others_still_count():
    events = gather(
        """
        split       time  candidate  label
        train       1     a          5
        train       2     b          1
        train       4     d          5
        train       3     c          5
        validation  5     v          5
        """,
        limit=2,
    )
    train, validation, test = events.splits
    assert candidates(train.kept) == ["c", "d"]
    assert (train.count, train.beyond_limit, train.num_positives) == (4, 2, 3)
    assert (train.first_s, train.last_s) == (1, 4)
    assert (validation.beyond_limit, test.beyond_limit) == (0, 0)  # the limit is of each split
    assert events.seen_before(VALIDATION) == {"a", "b", "c", "d"}
    assert events.count_before(VALIDATION) == 4


def test_of_events_of_one_second_the_last_in_the_source_are_kept():
    tied = [event_at(1, position, f"c{position}") for position in (1, 2, 3)]
    for order in itertools.permutations(tied):
        events = collect([(TRAIN, event) for event in order], limit=2)
        assert candidates(events.splits[TRAIN].kept) == ["c2", "c3"]
        assert [events.is_kept(TRAIN, event) for event in tied] == [False, True, True]


def test_the_order_in_which_events_come_changes_nothing():
    first = gather(EVENTS, limit=2)
    for order in itertools.islice(itertools.permutations(range(8)), 0, None, 997):
        assert gather(EVENTS, limit=2, order=order).splits == first.splits
