import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tests.reference import losses as reference
from tests.unit.training.toy import NUM_CANDIDATES, toy_batch, toy_model
from tfrs_twotower.losses.sampling_probability import StreamingFrequency, uniform_rows


def test_it_is_a_tfrs_model():
    assert isinstance(toy_model(), tfrs.Model)


def test_its_weights_are_those_of_both_towers_and_the_task():
    model = toy_model(learn_temperature=True)
    assert len(model.trainable_variables) == 3
    assert len(toy_model().trainable_variables) == 2


def test_the_loss_is_the_references_mean():
    model = toy_model()
    rows, weights = [3, 7, 7, 20], [1.0, 2.0, 0.0, 0.5]
    batch = toy_batch(rows, weights=weights)
    queries = model.towers.query.embed_tokens(batch["tokens"]).numpy()
    candidates = model.towers.candidate.embed_tokens(batch["tokens"]).numpy()
    losses = reference.in_batch_softmax(
        queries @ candidates.T,
        temperature=0.1,
        hidden=reference.accidental_hits(rows, rows),
    )
    expected = reference.weighted_mean(losses, weights)
    assert float(model.compute_loss(batch)) == pytest.approx(expected, rel=1e-5)


def test_uniform_negatives_are_columns_corrected_as_a_mixture():
    model = toy_model(num_uniform=6, seed=3)
    rows = [3, 7, 9]
    drawn = uniform_rows(6, NUM_CANDIDATES, seed=tf.constant([3, 5])).numpy()
    columns = np.concatenate([rows, drawn])
    batch = toy_batch(rows, step=5)
    queries = model.towers.query.embed_tokens(batch["tokens"]).numpy()
    vectors = model.towers.candidate.embed_tokens({"id": columns}).numpy()
    # All counts are equal: 25 / 50 in-batch occurrences each.
    expected = reference.mixed_expectation([25 / 50] * 9, 6, NUM_CANDIDATES)
    losses = reference.in_batch_softmax(
        queries @ vectors.T,
        temperature=0.1,
        sampling_probability=expected,
        hidden=reference.accidental_hits(rows, columns),
    )
    assert float(model.compute_loss(batch)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_permuting_the_batch_changes_nothing():
    model = toy_model()
    loss = float(model.compute_loss(toy_batch([1, 2, 3, 4])))
    assert float(model.compute_loss(toy_batch([3, 1, 4, 2]))) == pytest.approx(loss, rel=1e-6)


def test_streaming_frequencies_move_in_training_only():
    frequency = StreamingFrequency(NUM_CANDIDATES, initial_gap=100.0)
    model = toy_model(frequency=frequency)
    model.compute_loss(toy_batch([1, 2], step=9))
    np.testing.assert_array_equal(frequency.gap, 100.0)
    model.train_step(toy_batch([1, 2], step=9))
    assert float(frequency.gap[1]) == pytest.approx(0.99 * 100 + 0.01 * 9)
    assert float(frequency.gap[0]) == 100.0


def test_learns_the_toy_data_to_recall_1():
    model = toy_model()
    step = tf.function(model.train_step, autograph=False)
    random = np.random.default_rng(0)
    losses = [
        float(step(toy_batch(random.permutation(NUM_CANDIDATES)[:25], i))["loss"])
        for i in range(1, 101)
    ]
    everything = {"id": tf.range(NUM_CANDIDATES)}
    queries = model.towers.query.embed_tokens(everything)
    candidates = model.towers.candidate.embed_tokens(everything)
    best = tf.argmax(tf.matmul(queries, candidates, transpose_b=True), axis=1)
    np.testing.assert_array_equal(best, np.arange(NUM_CANDIDATES))
    assert losses[-1] < 0.1 * losses[0]
