import numpy as np
import pytest
import tensorflow as tf

from tests.reference import losses as reference
from tfrs_twotower.losses.sampling_probability import (
    CountedFrequency,
    StreamingFrequency,
    mixed_expectation,
    uniform_rows,
)


def test_counted_frequency_by_hand():
    frequency = CountedFrequency(np.array([1, 3, 0]), batch_size=8)
    np.testing.assert_allclose(
        frequency.expected(tf.constant([1, 0, 1])), [8 * 3 / 4, 8 * 1 / 4, 8 * 3 / 4]
    )


def test_nothing_is_clipped_in_the_tail():
    counts = np.array([10**9, 1, 2])
    expected = CountedFrequency(counts, batch_size=1).expected(tf.constant([1, 2])).numpy()
    assert expected[1] / expected[0] == pytest.approx(2.0)


def test_a_candidate_never_seen_is_corrected_as_a_uniform_negative():
    frequency = CountedFrequency(np.array([0, 4]), batch_size=8)
    expected = mixed_expectation(
        frequency.expected(tf.constant([0, 1])), num_uniform=6, num_candidates=2
    )
    np.testing.assert_allclose(expected, [6 / 2, 8 + 6 / 2])
    np.testing.assert_allclose(expected, reference.mixed_expectation([0, 8], 6, 2))
    assert np.isfinite(tf.math.log(expected)).all()


def test_counts_of_zero_only_are_refused():
    with pytest.raises(ValueError, match="all counts are 0; at least one"):
        CountedFrequency(np.zeros(3, np.int64), batch_size=2)


def test_mixed_expectation_is_what_a_simulation_counts():
    random = np.random.default_rng(0)
    q = np.array([0.7, 0.2, 0.1, 0.0])
    batch, uniform, repeats = 16, 8, 4000
    seen = np.zeros(4)
    for _ in range(repeats):
        seen += np.bincount(random.choice(4, batch, p=q), minlength=4)
        seen += np.bincount(random.integers(0, 4, uniform), minlength=4)
    expected = mixed_expectation(tf.constant(batch * q), num_uniform=uniform, num_candidates=4)
    np.testing.assert_allclose(seen / repeats, expected, rtol=0.03)


def test_the_streaming_estimate_by_hand():
    frequency = StreamingFrequency(3, learning_rate=0.01, initial_gap=100.0)
    for update in range(1, 101):
        frequency.update(tf.constant([1]), tf.constant(50 * update, tf.int64))
    gap = 50 + 0.99**100 * 50
    assert gap == pytest.approx(68.3016, abs=1e-4)
    assert float(frequency.gap[1]) == pytest.approx(gap, rel=1e-5)
    np.testing.assert_allclose(
        frequency.expected(tf.constant([0, 1])), [1 / 100, 1 / gap], rtol=1e-5
    )


@pytest.mark.parametrize("seed", range(5))
def test_streaming_equals_the_reference(seed):
    random = np.random.default_rng(seed)
    batches = [random.integers(0, 6, 4).tolist() for _ in range(30)]
    frequency = StreamingFrequency(6, learning_rate=0.1, initial_gap=5.0)
    for step, batch in enumerate(batches, 1):
        frequency.update(tf.constant(batch), tf.constant(step, tf.int64))
    expected = reference.streaming_gaps(batches, 6, learning_rate=0.1, initial_gap=5.0)
    np.testing.assert_allclose(frequency.gap, expected, rtol=1e-5)


def test_two_occurrences_in_a_step_count_once():
    once, twice = (StreamingFrequency(2, learning_rate=0.5) for _ in range(2))
    once.update(tf.constant([0]), tf.constant(4, tf.int64))
    twice.update(tf.constant([0, 0]), tf.constant(4, tf.int64))
    np.testing.assert_array_equal(once.gap, twice.gap)


def test_the_streaming_state_is_in_a_checkpoint(tmp_path):
    frequency = StreamingFrequency(2)
    frequency.update(tf.constant([0]), tf.constant(7, tf.int64))
    path = tf.train.Checkpoint(frequency=frequency).save(str(tmp_path / "x"))
    restored = StreamingFrequency(2)
    tf.train.Checkpoint(frequency=restored).restore(path).assert_consumed()
    np.testing.assert_array_equal(restored.gap, frequency.gap)
    np.testing.assert_array_equal(restored._last_step, [7, 0])


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="expected 0 < learning_rate <= 1"):
        StreamingFrequency(2, learning_rate=0.0)


def test_uniform_rows_depend_on_the_seed_only():
    rows = uniform_rows(1000, 7, seed=tf.constant([1, 2]))
    np.testing.assert_array_equal(rows, uniform_rows(1000, 7, seed=tf.constant([1, 2])))
    assert (rows.numpy() != uniform_rows(1000, 7, seed=tf.constant([1, 3])).numpy()).any()
    assert set(rows.numpy()) == set(range(7))
