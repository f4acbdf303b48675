"""Laws of a query's examples: what must not leak into them, for arbitrary events."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.pipelines.transforms.event_tables import (
    BEFORE,
    HOUR,
    OTHERS,
    asked,
    built,
    event_at,
    read_example,
    spec_of,
)
from tfrs_twotower.specs import SPLITS, TEST, TRAIN

FEW = {"max_length": 3}
FEATURES = [
    BEFORE | FEW,
    OTHERS | FEW | {"name": "others"},
    OTHERS | FEW | {"name": "positive_others", "positives_only": True},
    HOUR,
]
EVERY_PAIR = spec_of({"kind": "temporal", "new_pairs_only": False}, features=FEATURES)
NEW_PAIRS = spec_of(features=FEATURES)
either = pytest.mark.parametrize("spec", [EVERY_PAIR, NEW_PAIRS], ids=["every_pair", "new_pairs"])
laws = settings(max_examples=150, derandomize=True, deadline=None)


def events_of(*splits, max_size=12):
    """Events `(split, event)` of these splits, at few times and of few candidates."""
    event = st.tuples(
        st.sampled_from(splits),
        st.integers(0, 5),
        st.sampled_from("abcde"),
        st.sampled_from([1, 5]),
    )
    return st.lists(event, max_size=max_size).map(
        lambda drawn: [
            (split, event_at(time, position, candidate, label))
            for position, (split, time, candidate, label) in enumerate(drawn)
        ]
    )


def in_order(event):
    """The order of examples."""
    return event.timestamp, event.candidate_id, event.position


def moved(placed, places):
    """The same events from other places in the source."""
    return [(of, event._replace(position=event.position + places)) for of, event in placed]


def outputs(placed, spec, split, **options):
    """Everything that is made of a query for one split: examples and, but for train, the query."""
    made = built(placed, spec, SPLITS[split], **options) if split != TEST else []
    return made if split == TRAIN else [*made, asked(placed, spec, SPLITS[split], **options)]


@either
@pytest.mark.parametrize("split", [0, 1], ids=["train", "validation"])
@given(placed=events_of(0, 1, 2), later=events_of(1, 2), limit=st.integers(1, 12))
@laws
def test_events_of_later_splits_change_nothing_whenever_they_happened(
    spec, split, placed, later, limit
):
    earlier = [(of, event) for of, event in placed if of <= split]
    more = [(of, event) for of, event in later if of > split]
    expected = outputs(earlier, spec, split, limit=limit)
    for added in (moved(more, 100), moved(more, -100)):
        assert outputs([*earlier, *added], spec, split, limit=limit) == expected


@given(placed=events_of(0, 1))
@laws
def test_a_history_does_not_change_when_the_same_second_and_the_future_are_taken_away(placed):
    for split in (0, 1):
        shown = sorted((one for of, one in placed if of == split and one.label >= 3), key=in_order)
        examples = built(placed, EVERY_PAIR, SPLITS[split])
        assert len(examples) == len(shown)
        for own, example in zip(shown, examples, strict=True):
            past = [(of, event) for of, event in placed if event.timestamp < own.timestamp]
            (*_, alone) = built([*past, (split, own)], EVERY_PAIR, SPLITS[split])
            assert alone["history"] == example["history"]
            if split == 1:
                assert alone == example  # leave-one-out, too: it saw only what came before


@given(placed=events_of(0))
@laws
def test_leave_one_out_is_as_if_the_own_candidate_had_never_been_met(placed):
    shown = sorted((event for _, event in placed if event.label >= 3), key=in_order)
    for own, example in zip(shown, built(placed, EVERY_PAIR, "train"), strict=True):
        others = [(0, event) for _, event in placed if event.candidate_id != own.candidate_id]
        alone = [
            found
            for found in built([*others, (0, own)], EVERY_PAIR, "train")
            if found["_candidate_id"] == [own.candidate_id]
        ]
        for name in ("others", "positive_others"):
            assert example[name] == alone[0][name]
            assert own.candidate_id not in example[name]


@either
@given(placed=events_of(0, 1, 2), limit=st.integers(1, 6), seed=st.integers(0, 9))
@laws
def test_the_order_in_which_events_come_changes_nothing(spec, placed, limit, seed):
    shuffled = placed.copy()
    random.Random(seed).shuffle(shuffled)
    for split in (0, 1, 2):
        expected = outputs(placed, spec, split, limit=limit)
        assert outputs(shuffled, spec, split, limit=limit) == expected


@either
@given(placed=events_of(0, 1, 2))
@laws
def test_an_evaluated_query_knows_seen_candidates_only(spec, placed):
    for split in (1, 2):
        query = read_example(outputs(placed, spec, split)[-1])
        for name in ("history", "others", "positive_others"):
            assert set(query[name]) <= {event.candidate_id for of, event in placed if of < split}
