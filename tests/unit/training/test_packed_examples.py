"""Which examples share a history, and where it lies in a packed batch."""

import numpy as np
import pytest

from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.training.packed_examples import PackedExamples, pack, shared_histories
from tfrs_twotower.training.plan import BatchOrder

WIDTH = 4


def table(*examples):
    """Examples `(query, time, history)`, most recent event first."""
    histories = np.zeros([len(examples), WIDTH], np.int32)
    for row, (_, _, history) in enumerate(examples):
        histories[row, : len(history)] = history
    count = len(examples)
    return ExampleTable(
        tokens={"history": histories},
        query_ids=np.array([b"a", b"b"], object),
        query_rows=np.array([query for query, _, _ in examples], np.int32),
        candidate_rows=np.arange(count, dtype=np.int32),
        timestamps=np.array([time for _, time, _ in examples], np.int64),
        weights=np.ones(count, np.float32),
    )


def test_earlier_examples_share_the_history_of_the_latest_by_hand():
    examples = table((0, 1, []), (0, 3, [5, 3]), (1, 9, [8]), (0, 2, [3]), (1, 8, []))
    sources, offsets = shared_histories(examples, "history")
    np.testing.assert_array_equal(sources, [1, 1, 2, 1, 2])
    np.testing.assert_array_equal(offsets, [2, 0, 0, 1, 1])


def test_examples_of_one_moment_share_one_place():
    """Two articles of one basket: both have the events before the basket."""
    sources, offsets = shared_histories(table((0, 2, [5, 3]), (0, 2, [5, 3])), "history")
    assert len(set(sources.tolist())) == 1
    np.testing.assert_array_equal(offsets, [0, 0])


def test_a_history_that_is_not_a_part_of_a_later_one_stands_for_itself():
    """An event that was repeated has moved to the front of the later history."""
    sources, offsets = shared_histories(table((0, 4, [3, 5]), (0, 3, [5, 3])), "history")
    np.testing.assert_array_equal(sources, [0, 1])
    np.testing.assert_array_equal(offsets, [0, 0])


def test_no_query_borrows_from_another():
    sources, _ = shared_histories(table((0, 4, [3]), (1, 3, [3])), "history")
    np.testing.assert_array_equal(sources, [0, 1])


def test_a_cut_history_keeps_at_least_half_of_the_largest_length():
    """Events 1 to 8 at width 4: the piece for event 9 also serves 8 and 7, no older one."""
    histories = {time: list(range(time - 1, 0, -1))[:WIDTH] for time in range(5, 10)}
    examples = table(*((0, time, history) for time, history in histories.items()))
    sources, offsets = shared_histories(examples, "history")
    np.testing.assert_array_equal(sources, [1, 1, 4, 4, 4])
    np.testing.assert_array_equal(offsets, [1, 0, 2, 1, 0])


@pytest.mark.parametrize("seed", range(4))
def test_packed_places_hold_the_own_history(seed):
    """Random sequences: from its place on, an example finds its own history, cut at worst."""
    random = np.random.default_rng(seed)
    examples = []
    for query in range(2):
        events = random.permutation(40)[: random.integers(1, 14)] + 2
        for time in range(len(events)):
            examples.append((query, time, events[:time][::-1][:WIDTH]))
    made = table(*[examples[place] for place in random.permutation(len(examples))])
    packed = PackedExamples.of(made, ("history",))
    positions = random.permutation(len(made))[: max(2, len(made) // 2)]
    batch = packed.batch(positions, 1)["tokens"]
    histories = batch["history.packed"]
    events, segments = histories.events.ravel(), histories.segments.ravel()
    for row, own in enumerate(batch["history"]):
        own = own[own > 0].tolist()
        place = histories.places[row]
        if not own:
            assert place == -1
            continue
        end = place
        while (
            end < len(events)
            and end // WIDTH == place // WIDTH
            and (segments[end] == segments[place])
        ):
            end += 1
        found = events[place:end].tolist()
        assert found == own[: len(found)]
        assert len(found) == len(own) or len(found) >= WIDTH / 2


def test_short_histories_share_a_row():
    histories = np.array([[3, 5, 0, 0], [7, 0, 0, 0], [2, 4, 6, 0]], np.int32)
    packed = pack(histories, np.array([0, 1, 2]), np.array([0, 0, 1]))
    np.testing.assert_array_equal(packed.events, [[3, 5, 7, 0], [2, 4, 6, 0]])
    np.testing.assert_array_equal(packed.segments, [[1, 1, 2, 0], [3, 3, 3, 0]])
    np.testing.assert_array_equal(packed.places, [0, 2, 5])


def test_a_batch_of_empty_histories_has_one_empty_row():
    packed = pack(np.zeros([2, 4], np.int32), np.array([0, 1]), np.array([0, 0]))
    np.testing.assert_array_equal(packed.events, [[0, 0, 0, 0]])
    np.testing.assert_array_equal(packed.places, [-1, -1])


def test_groups_follow_each_other_in_another_order_in_every_epoch():
    groups = np.array([2, 0, 1, 0, 2, 2])
    order = BatchOrder(6, 3, seed=4, buffer=100, groups=groups)
    epochs = [np.concatenate([order.batch(2 * n), order.batch(2 * n + 1)]) for n in range(8)]
    for positions in epochs:
        assert sorted(positions.tolist()) == list(range(6))
        found = groups[positions]
        assert (np.diff(found) != 0).sum() == 2
    assert len({tuple(groups[positions]) for positions in epochs}) > 1
