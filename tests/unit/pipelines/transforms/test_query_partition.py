"""What is kept of a query's events, split by split, worked out by hand."""

import itertools

import numpy as np

from tests.unit.pipelines.transforms.event_tables import event_at, gather, partition_of
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


def candidates(partition, events):
    return partition.texts(events.candidate).to_pylist()


def kept(partition, split):
    return candidates(
        partition, partition.events.of(partition.kept & (partition.events.split == split))
    )


def before(partition, split):
    return candidates(partition, partition.shown(split).events)


def seen(partition, split):
    (found,) = partition.seen_before(split).to_pylist()
    return found


def test_each_split_is_in_the_order_of_time_and_then_of_the_source():
    partition = partition_of(gather(EVENTS))
    assert [kept(partition, split) for split in (TRAIN, VALIDATION, TEST)] == [
        ["a", "b", "a", "c"],  # b and a at 2 s as they stand in the source
        ["w", "v", "v"],
        ["t"],
    ]


def test_an_earlier_split_sees_nothing_of_a_later_one():
    partition = partition_of(gather(EVENTS))
    assert before(partition, TRAIN) == []
    assert before(partition, VALIDATION) == ["a", "b", "a", "c"]
    assert before(partition, TEST) == ["a", "b", "a", "c", "w", "v", "v"]


def test_earlier_splits_are_one_row_of_events_even_where_they_overlap_in_time():
    partition = partition_of(
        gather("""
        split       time  candidate
        train       3     late
        validation  2     middle
        train       1     early
        test        1     test
    """)
    )
    assert before(partition, TEST) == ["early", "middle", "late"]


def test_seen_are_candidates_of_earlier_splits_whatever_the_label():
    partition = partition_of(gather(EVENTS))
    assert seen(partition, TRAIN) == []
    assert seen(partition, VALIDATION) == ["a", "b", "c"]  # c has label 1
    assert seen(partition, TEST) == ["a", "b", "c", "v", "w"]  # but not t
    assert seen(partition, TEST + 1) == ["a", "b", "c", "t", "v", "w"]  # a server is asked then


def test_counts_and_first_times_of_each_split():
    partition = partition_of(gather(EVENTS))
    assert partition.count.tolist() == [[4], [3], [1]]
    assert [partition.first_time(split).tolist() for split in (TRAIN, VALIDATION, TEST)] == [
        [1],
        [4],
        [7],
    ]
    nothing = partition_of(gather("split time candidate\ntest 1 a"))
    assert (nothing.count.tolist(), nothing.first_time(TRAIN).tolist()) == ([[0], [0], [1]], [0])


def test_the_gain_of_a_candidate_is_its_highest_label_among_positive_events():
    partition = partition_of(
        gather("""
        split       time  candidate  label
        train       1     a          5
        validation  2     b          4
        validation  3     b          5
        validation  4     b          3
        validation  5     c          2
        test        6     a          3
        test        7     d          3
        test        8     e          1
    """)
    )
    for split, expected in ((VALIDATION, {"b": 5}), (TEST, {"d": 3})):  # a is seen, e no choice
        _, candidate, gain = partition.gains(split)
        names = partition.texts(candidate).to_pylist()
        assert dict(zip(names, gain.tolist(), strict=True)) == expected


def test_only_the_most_recent_of_each_split_are_kept_and_the_others_still_count():
    partition = partition_of(
        gather("""
        split       time  candidate  label
        train       1     a          5
        train       2     b          1
        train       4     d          5
        train       3     c          5
        validation  5     v          5
        """),
        limit=2,
    )
    assert kept(partition, TRAIN) == ["c", "d"]
    # The limit is of each split.
    assert [partition.beyond_limit(split) for split in (TRAIN, VALIDATION, TEST)] == [2, 0, 0]
    assert seen(partition, VALIDATION) == ["a", "b", "c", "d"]
    assert partition.count[TRAIN].tolist() == [4]


def test_of_events_of_one_second_the_last_in_the_source_are_kept():
    tied = [(TRAIN, event_at(1, position, f"c{position}")) for position in (1, 2, 3)]
    for order in itertools.permutations(tied):
        assert kept(partition_of(list(order), limit=2), TRAIN) == ["c2", "c3"]


def test_the_order_in_which_events_come_changes_nothing():
    first = partition_of(gather(EVENTS), limit=2)
    for order in itertools.islice(itertools.permutations(range(8)), 0, None, 997):
        other = partition_of(gather(EVENTS, order=order), limit=2)
        for name, values in vars(first.events).items():
            np.testing.assert_array_equal(getattr(other.events, name), values)
