"""Examples of the validation window and evaluated queries, worked out by hand."""

import pytest

from pipelines.transforms.splits import Cutoffs
from tests.unit.pipelines.transforms.event_tables import (
    BEFORE,
    HOUR,
    OTHERS,
    asked,
    built,
    check,
    gather,
    spec_of,
)

both = pytest.mark.parametrize("history", [BEFORE, OTHERS], ids=["before", "others"])

OVERLAPPING = """
    split       time  candidate
    train       1     a
    validation  2     v
    train       3     b
    test        3     t
    validation  4     w
    test        5     u
"""


@both
def test_examples_of_the_validation_window_see_what_came_before_but_never_a_test_event(history):
    expected = """
        time  candidate  history
        2     v          a
        4     w          b,v,a
    """
    check(built(gather(OVERLAPPING), spec_of(features=[history]), "validation"), expected)


@both
def test_examples_of_the_validation_window_do_not_see_each_other_in_one_second(history):
    text = """
        split       time  candidate
        train       1     a
        validation  2     v
        validation  2     w
        train       2     b
    """
    expected = "candidate history\nv a\nw a"
    check(built(gather(text), spec_of(features=[history]), "validation"), expected)


@pytest.mark.parametrize(
    ("history", "of_a", "of_b"),
    [(BEFORE, "b,a", "a,b"), (OTHERS, "b,c", "a,c")],
    ids=["before", "others"],
)
def test_a_pair_known_from_training_is_no_new_one_in_the_validation_window(history, of_a, of_b):
    text = """
        split       time  candidate  label
        train       0     c          5
        train       1     a          5
        train       2     b          1
        validation  3     a          5
        validation  4     b          5
    """
    changed = history | {"max_length": 2}
    known = f"time candidate history\n4 b {of_b}"
    check(built(gather(text), spec_of(features=[changed]), "validation"), known)
    every_pair = spec_of({"kind": "temporal", "new_pairs_only": False}, features=[changed])
    every = f"{known}\n3 a {of_a}"
    check(built(gather(text), every_pair, "validation"), every)


@both
def test_evaluated_queries_see_the_splits_before_their_own(history):
    events, spec = gather(OVERLAPPING), spec_of(features=[history])
    check([asked(events, spec, "validation")], "history events\nb,a 2")
    check([asked(events, spec, "test")], "history events\nw,b,v,a 4")


def test_the_history_of_an_evaluated_query_is_cut_like_any_other():
    text = """
        split  time  candidate  label
        train  1     a          5
        train  2     b          5
        train  3     c          1
        train  4     a          5
        test   5     t          5
    """
    for changed, expected in (
        ({"max_length": 2}, "a,c"),
        ({"max_length": 2, "positives_only": True}, "a,b"),
    ):
        spec = spec_of(features=[BEFORE | changed])
        check([asked(gather(text), spec, "test")], f"history events\n{expected} 4")


def test_a_query_without_earlier_events_is_asked_with_an_empty_history():
    events = gather("split time candidate\ntest 7 t\ntest 8 u")
    expected = """
        query  time  history  events  relevant      seen
        q      7     -        0       relevant,t,u  -
    """
    check([asked(events, spec_of(), "test")], expected)


def test_the_time_of_an_evaluated_query_is_the_cutoff_and_else_its_first_event():
    events, spec = gather(OVERLAPPING), spec_of(features=[HOUR])
    cutoffs = Cutoffs(validation_from=2, test_from=3)
    for split, cutoff, first in (("validation", 2, 2), ("test", 3, 3)):
        check([asked(events, spec, split, cutoffs=cutoffs)], f"time hour\n{cutoff} {cutoff}")
        check([asked(events, spec, split)], f"time hour\n{first} {first}")
    early = Cutoffs(validation_from=-7, test_from=-5)
    check([asked(events, spec, "validation", cutoffs=early)], "time hour\n-7 -7")
    check([asked(events, spec, "test", cutoffs=early)], "time hour\n-5 -5")
