"""Training examples of one query, their histories worked out by hand."""

import pytest

from pipelines.transforms.query_examples import needs_order
from tests.unit.pipelines.transforms.event_tables import (
    BEFORE,
    HOUR,
    OTHERS,
    asked,
    built,
    check,
    gather,
    partition_of,
    read_example,
    spec_of,
)

EVERY_PAIR = {"kind": "temporal", "new_pairs_only": False}
EVENTS = """
    split  time  candidate
    train  1     a
    train  2     b
    train  2     c
    train  3     d
    train  3     a
    train  4     e
"""


def shorter(history, **changed):
    return spec_of(EVERY_PAIR, features=[history | changed])


def test_a_history_is_what_came_strictly_before_most_recent_first():
    # b and c, d and a share their second: neither sees the other. a moves to its latest place.
    expected = """
        time  candidate  history
        1     a          -
        2     b          a
        2     c          a
        3     d          c,b,a
        3     a          c,b,a
        4     e          a,d,c,b
    """
    check(built(gather(EVENTS), shorter(BEFORE), "train"), expected)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_events_of_one_second_never_see_each_other_however_they_stand_in_the_source(order):
    lines = ["train  5  x", "train  5  y", "train  4  past"]
    text = "\n".join(["split  time  candidate", *(lines[at] for at in order)])
    expected = """
        time  candidate  history
        4     past       -
        5     x          past
        5     y          past
    """
    check(built(gather(text), spec_of(), "train"), expected)


def test_a_query_of_one_second_has_no_history():
    text = "split time candidate\ntrain 5 x\ntrain 5 y\ntrain 5 z"
    expected = "candidate history\nx -\ny -\nz -"
    check(built(gather(text), spec_of(), "train"), expected)


def test_only_the_most_recent_different_candidates_are_kept():
    expected = """
        time  candidate  history
        1     a          -
        2     b          a
        2     c          a
        3     d          c,b
        3     a          c,b
        4     e          a,d
    """
    check(built(gather(EVENTS), shorter(BEFORE, max_length=2), "train"), expected)


def test_leave_one_out_sees_all_other_candidates_of_the_training_window():
    # All of them, most recent first: e a d c b. The own one is left out wherever it was met.
    expected = """
        time  candidate  history
        1     a          e,d,c,b
        2     b          e,a,d,c
        2     c          e,a,d,b
        3     d          e,a,c,b
        3     a          e,d,c,b
        4     e          a,d,c,b
    """
    check(built(gather(EVENTS), shorter(OTHERS), "train"), expected)


def test_leave_one_out_fills_the_place_of_the_own_candidate():
    expected = """
        time  candidate  history
        1     a          e,d
        2     b          e,a
        2     c          e,a
        3     d          e,a
        3     a          e,d
        4     e          a,d
    """
    check(built(gather(EVENTS), shorter(OTHERS, max_length=2), "train"), expected)


def test_only_the_first_positive_event_of_a_pair_is_an_example_where_only_new_pairs_count():
    text = """
        split  time  candidate  label
        train  1     a          1
        train  2     a          4
        train  3     a          5
        train  4     b          5
    """
    before = """
        time  candidate  label  history
        2     a          4      a
        4     b          5      a
    """  # the candidate itself, where the query had turned it down before
    check(built(gather(text), spec_of(), "train"), before)
    others = before.replace("4      a", "4      b")
    check(built(gather(text), spec_of(features=[OTHERS]), "train"), others)
    every = f"{before}        3     a          5      a\n"
    check(built(gather(text), shorter(BEFORE), "train"), every)


@pytest.mark.parametrize(
    ("positives_only", "history_of_c", "history_of_d"),
    [(False, "b,a", "c,b,a"), (True, "a", "c,a")],
)
def test_an_event_below_the_limit_is_no_example_but_history(
    positives_only, history_of_c, history_of_d
):
    text = """
        split  time  candidate  label
        train  1     a          3
        train  2     b          2.5
        train  3     c          5
        train  4     d          3.5
    """
    expected = f"""
        time  candidate  label  history
        1     a          3      -
        3     c          5      {history_of_c}
        4     d          3.5    {history_of_d}
    """
    spec = spec_of(features=[BEFORE | {"positives_only": positives_only}])
    check(built(gather(text), spec, "train"), expected)


@pytest.mark.parametrize(
    ("history", "of_a", "of_b"), [(BEFORE, "-", "a"), (OTHERS, "b", "a")], ids=["before", "others"]
)
def test_training_examples_never_see_a_later_split_even_where_it_is_earlier_in_time(
    history, of_a, of_b
):
    text = """
        split       time  candidate
        train       1     a
        validation  2     v
        train       3     b
        test        3     t
    """
    expected = f"time candidate history\n1 a {of_a}\n3 b {of_b}"
    check(built(gather(text), spec_of(features=[history]), "train"), expected)


def test_an_example_has_the_time_label_and_weight_of_its_own_event():
    text = """
        split  time  candidate  label  weight
        train  8     a          3      0.5
        train  9     b          4      0
    """
    expected = """
        query  time  hour  candidate  label  weight
        q      8     8     a          3      0.5
        q      9     9     b          4      0
    """
    check(built(gather(text), spec_of(features=[HOUR]), "train"), expected)


def test_features_of_the_query_stand_in_every_example_and_in_the_evaluated_query():
    features = [
        {"name": "colour", "kind": "categorical"},
        BEFORE,
        {"name": "tags", "kind": "multi_categorical"},
        {"name": "age", "kind": "numeric"},
    ]
    spec = spec_of(features=features, queries={})
    values = ("red", None, ("x", "y"), 30.5)
    events = gather("split time candidate\ntrain 1 a\ntrain 2 b\ntest 3 t")
    expected = """
        candidate  colour  history  tags  age
        a          red     -        x,y   30.5
        b          red     a        x,y   30.5
    """
    check(built(events, spec, "train", values), expected)
    found = read_example(asked(events, spec, "test", values=values))
    assert (found["colour"], found["tags"], found["age"]) == (["red"], ["x", "y"], [30.5])
    assert found["history"] == ["b", "a"]


BUSY = """
    split  time  candidate  label
    train  1     a          5
    train  2     b          5
    train  3     a          5
    train  4     c          1
    train  5     d          5
    train  6     b          5
    train  7     e          5
"""


def older_of(text, spec, *, limit=3, order=None):
    """Examples of the events beyond the limit, which come in an order."""
    placed = gather(text, order=order)
    partition = partition_of(placed, spec, limit=limit)
    old = set(partition.events.time[~partition.kept].tolist())
    found = built(placed, spec, "train", limit=limit)
    return [one for one in found if one["_timestamp"][0] in old]


def test_events_beyond_the_limit_are_examples_that_see_the_kept_ones():
    # d b e are kept. The pair of b and a repeats; of a both events are too old to be kept.
    everything = """
        time  candidate  history
        1     a          e,b,d
        2     b          e,d
        3     a          e,b,d
    """
    check(older_of(BUSY, shorter(OTHERS)), everything)
    check(older_of(BUSY, spec_of(features=[OTHERS])), "time candidate history\n1 a e,b,d")
    two = """
        time  candidate  history
        1     a          e,b
        2     b          e,d
        3     a          e,b
    """
    check(older_of(BUSY, shorter(OTHERS, max_length=2)), two)


def test_a_pair_whose_kept_events_are_not_positive_has_its_example_from_an_older_one():
    text = """
        split  time  candidate  label
        train  1     a          5
        train  2     b          5
        train  3     a          1
        train  4     b          5
    """
    expected = "time candidate history\n1 a b"
    check(older_of(text, spec_of(features=[OTHERS]), limit=2), expected)


def test_which_event_of_a_pair_is_an_example_does_not_depend_on_the_order_they_come_in():
    spec = spec_of(features=[OTHERS])
    first = older_of(BUSY, spec)
    for order in ((2, 0, 1, 3, 4, 5, 6), (6, 5, 4, 3, 2, 1, 0)):
        assert older_of(BUSY, spec, order=order) == first


def test_only_a_history_before_the_event_needs_every_event_in_order():
    assert needs_order(spec_of(features=[OTHERS, BEFORE | {"name": "b"}]))
    assert not needs_order(spec_of(features=[OTHERS]))
    assert not needs_order(spec_of(features=[HOUR]))


def test_a_split_without_positive_events_has_no_example():
    assert built(gather("split time candidate label\ntrain 1 a 1"), spec_of(), "train") == []
    only_train = gather("split time candidate\ntrain 1 a")
    assert built(only_train, spec_of(), "validation") == []


def test_examples_are_trained_in_the_order_of_time_and_candidate():
    text = """
        split  time  candidate  label
        train  7     b          5
        train  7     a          4
        train  7     b          3
        train  6     c          5
    """
    found = built(gather(text), shorter(BEFORE), "train")
    keys = [(*one["_timestamp"], *one["_candidate_id"], *one["_label"]) for one in found]
    assert keys == [(6, "c", 5), (7, "a", 4), (7, "b", 3), (7, "b", 5)]
