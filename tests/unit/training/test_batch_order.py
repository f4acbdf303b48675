import numpy as np
import pytest

from tfrs_twotower.training.plan import BatchOrder


def order(seed=1, buffer=1000, num_examples=10, batch_size=4):
    return BatchOrder(num_examples, batch_size, seed=seed, buffer=buffer)


@pytest.mark.parametrize("buffer", [1000, 3])
def test_epochs_follow_each_other_and_hold_each_example_once(buffer):
    stream = np.concatenate([order(buffer=buffer).batch(s) for s in range(10)])
    for epoch in range(4):
        held = np.sort(stream[10 * epoch : 10 * epoch + 10])
        np.testing.assert_array_equal(held, np.arange(10))


def test_a_batch_depends_on_the_seed_and_the_step_only():
    forwards, one = order(), order()
    batches = [forwards.batch(s) for s in range(8)]
    np.testing.assert_array_equal(one.batch(7), batches[7])
    np.testing.assert_array_equal(one.batch(2), batches[2])
    assert any((order(seed=2).batch(s) != batches[s]).any() for s in range(3))


def test_epochs_differ():
    batches = order(num_examples=100, batch_size=100)
    assert (batches.batch(0) != batches.batch(1)).any()


def test_blocks_are_shuffled_inside_the_buffer():
    stream = np.concatenate([order(buffer=3, num_examples=12).batch(s) for s in range(3)])
    blocks = {tuple(np.sort(part)) for part in stream.reshape(4, 3)}
    assert blocks == {(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)}


def test_a_batch_larger_than_an_epoch_is_refused():
    with pytest.raises(ValueError, match="batch_size is 11 with 10 examples"):
        order(batch_size=11)
