import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.contracts.loss_contract import LossContract
from tests.reference import losses as reference
from tfrs_twotower.losses.in_batch_softmax import (
    entry_of_each_row,
    hide,
    in_batch_softmax,
    keep_hardest,
)
from tfrs_twotower.losses.negative_columns import accidental_hits


class TestInBatchSoftmax(LossContract):
    def loss(self, queries, candidates, rows, temperature):
        del rows
        scores = tf.matmul(queries, candidates, transpose_b=True)
        return in_batch_softmax(scores, temperature=temperature)


class TestInBatchSoftmaxWithCorrectionAndMask(LossContract):
    def loss(self, queries, candidates, rows, temperature):
        return in_batch_softmax(
            tf.matmul(queries, candidates, transpose_b=True),
            temperature=temperature,
            sampling_probability=tf.cast(rows + 1, tf.float32) / 50,
            hidden=accidental_hits(rows, rows),
        )


def a_case(seed):
    random = np.random.default_rng(seed)
    batch, columns = 5, 8
    return {
        "scores": random.normal(size=(batch, columns)).astype(np.float32),
        "sampling_probability": random.uniform(1e-9, 1.0, columns).astype(np.float32),
        "hidden": random.random((batch, columns)) < 0.4,
        "positive_columns": random.integers(0, columns, batch).astype(np.int32),
    }


def test_the_identity_by_hand():
    scores = tf.constant(np.eye(3), tf.float32)
    np.testing.assert_allclose(in_batch_softmax(scores), np.log(np.e + 2) - 1, rtol=1e-6)
    np.testing.assert_allclose(
        in_batch_softmax(scores, temperature=0.5), np.log(np.e**2 + 2) - 2, rtol=1e-6
    )


def test_collapse_costs_log_of_the_batch():
    np.testing.assert_allclose(in_batch_softmax(tf.ones([7, 7])), np.log(7), rtol=1e-6)


def test_the_correction_by_hand():
    # Two candidates of equal score, the negative three times as frequent as the positive.
    loss = in_batch_softmax(tf.zeros([1, 2]), sampling_probability=tf.constant([0.1, 0.3]))
    np.testing.assert_allclose(loss, [-np.log(10 / (10 + 10 / 3))], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference_in_all_combinations(seed):
    case = a_case(seed)
    scores = case.pop("scores")
    for names in itertools.chain.from_iterable(
        itertools.combinations(case, n) for n in range(len(case) + 1)
    ):
        options = {name: case[name] for name in names}
        for temperature, strength in ((1.0, 1.0), (0.05, 0.5)):
            expected = reference.in_batch_softmax(
                scores, temperature=temperature, logq_strength=strength, **options
            )
            actual = in_batch_softmax(
                tf.constant(scores),
                temperature=temperature,
                logq_strength=strength,
                **{name: tf.constant(value) for name, value in options.items()},
            )
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_adding_a_constant_to_a_row_or_scaling_all_probabilities_changes_nothing():
    case = a_case(0)
    probability = tf.constant(case["sampling_probability"])
    loss = in_batch_softmax(tf.constant(case["scores"]), sampling_probability=probability)
    shifted = in_batch_softmax(
        tf.constant(case["scores"] + np.arange(5, dtype=np.float32)[:, None]),
        sampling_probability=probability,
    )
    scaled = in_batch_softmax(tf.constant(case["scores"]), sampling_probability=1e-7 * probability)
    np.testing.assert_allclose(shifted, loss, atol=1e-5)
    np.testing.assert_allclose(scaled, loss, atol=1e-5)


def test_permuting_the_batch_permutes_the_losses():
    random = np.random.default_rng(0)
    scores = random.normal(size=(6, 6)).astype(np.float32)
    order = random.permutation(6)
    loss = in_batch_softmax(tf.constant(scores)).numpy()
    permuted = in_batch_softmax(tf.constant(scores[order][:, order]))
    np.testing.assert_allclose(permuted, loss[order], rtol=1e-6)


def test_a_uniform_sampling_probability_changes_nothing():
    scores = tf.constant(a_case(1)["scores"])
    corrected = in_batch_softmax(scores, sampling_probability=tf.fill([8], 0.003))
    np.testing.assert_allclose(corrected, in_batch_softmax(scores), atol=1e-5)


def test_the_correction_makes_the_gradient_that_of_the_full_softmax():
    # 20 candidates, Zipf popularity; the positive is candidate 0 throughout.
    random = np.random.default_rng(0)
    size, batch, repeats = 20, 512, 200
    popularity = 1.0 / np.arange(1, size + 1)
    popularity /= popularity.sum()
    scores = random.normal(size=size)
    expected = np.array(reference.full_softmax_gradient(scores, 0))

    def average(corrected):
        @tf.function(autograph=False)
        def slopes(columns, probability):
            loss = in_batch_softmax(
                columns, sampling_probability=probability if corrected else None
            )
            return tf.gradients(loss, columns)[0]

        mean = np.zeros(size)
        for _ in range(repeats):
            rows = random.choice(size, batch, p=popularity)
            # The positive is always in the batch.
            rows[0] = 0
            gradient = slopes(tf.constant(scores[None, rows]), tf.constant(popularity[rows]))
            np.add.at(mean, rows, gradient.numpy()[0] / repeats)
        return mean

    assert np.abs(average(corrected=True) - expected).max() < 0.01
    assert np.abs(average(corrected=False) - expected).max() > 0.05


def test_the_gradient_of_a_row_adds_up_to_zero():
    case = a_case(3)
    scores = case.pop("scores").astype(np.float64)
    (gradient,) = gradient_of(lambda s: in_batch_softmax(s, temperature=0.1, **case), scores)
    np.testing.assert_allclose(gradient.sum(axis=1), 0.0, atol=1e-12)


def test_a_hidden_candidate_has_probability_and_gradient_zero():
    scores = tf.constant([[0.3, 0.9, -0.2], [0.1, 0.2, 0.3]])
    hidden = tf.constant([[True, True, False], [False, False, False]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = in_batch_softmax(scores, hidden=hidden)
    gradient = tape.gradient(loss, scores).numpy()
    assert gradient[0, 1] == 0.0
    # The mask names the positive as well; it is not hidden.
    np.testing.assert_allclose(loss[0], np.log(np.exp(0.3) + np.exp(-0.2)) - 0.3, rtol=1e-6)
    assert gradient[0, 0] < 0.0


def test_everything_hidden_leaves_loss_zero_and_no_nan():
    scores = tf.random.stateless_normal([4, 4], [1, 2])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = in_batch_softmax(scores, temperature=0.01, hidden=tf.fill([4, 4], True))
    np.testing.assert_array_equal(loss, 0.0)
    np.testing.assert_array_equal(tape.gradient(loss, scores), 0.0)


def test_logq_strength_zero_is_no_correction():
    case = a_case(2)
    loss = in_batch_softmax(
        tf.constant(case["scores"]),
        sampling_probability=tf.constant(case["sampling_probability"]),
        logq_strength=0.0,
    )
    np.testing.assert_array_equal(loss, in_batch_softmax(tf.constant(case["scores"])))


class TestSoftmaxOfTheHardestNegatives(LossContract):
    def loss(self, queries, candidates, rows, temperature):
        positives = tf.range(tf.shape(rows)[0])
        logits = tf.matmul(queries, candidates, transpose_b=True) / temperature
        logits = hide(logits, accidental_hits(rows, rows), positives)
        return in_batch_softmax(
            keep_hardest(logits, num_hard_negatives=2, positive_columns=positives)
        )


def logits_of(seed):
    return np.random.default_rng(seed).normal(size=(5, 7)).astype(np.float32)


@pytest.mark.parametrize("k", [6, 7, 100])
def test_keeping_all_negatives_changes_no_logit(k):
    logits = tf.constant(logits_of(0))
    kept = keep_hardest(logits, num_hard_negatives=k, positive_columns=tf.range(5))
    np.testing.assert_array_equal(kept, logits)


def test_keeping_one_negative_keeps_exactly_the_largest():
    logits = tf.constant([[5.0, 1.0, 3.0], [2.0, 0.0, 1.0], [0.0, 4.0, 0.0]])
    kept = keep_hardest(logits, num_hard_negatives=1, positive_columns=tf.range(3)).numpy()
    hidden = -np.inf
    np.testing.assert_array_equal(
        kept, [[5.0, hidden, 3.0], [2.0, 0.0, hidden], [hidden, 4.0, 0.0]]
    )


@pytest.mark.parametrize("seed", range(5))
def test_keep_hardest_equals_the_reference(seed):
    logits = logits_of(seed)
    positives = np.random.default_rng(seed).integers(0, 7, 5)
    kept = keep_hardest(
        tf.constant(logits), num_hard_negatives=3, positive_columns=tf.constant(positives)
    )
    expected = reference.keep_hardest(logits, 3, positives)
    expected = [[-np.inf if z is None else z for z in row] for row in expected]
    np.testing.assert_allclose(kept, expected, rtol=1e-6)


def test_dropped_negatives_have_gradient_zero():
    logits = tf.constant(logits_of(1))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        kept = keep_hardest(logits, num_hard_negatives=2, positive_columns=tf.range(5))
        loss = in_batch_softmax(kept)
    gradient = tape.gradient(loss, logits).numpy()
    np.testing.assert_array_equal((gradient != 0).sum(axis=1), 3)


def test_keeping_no_negative_is_refused():
    with pytest.raises(ValueError, match="num_hard_negatives is 0; it must be at least 1"):
        keep_hardest(tf.zeros([2, 2]), num_hard_negatives=0, positive_columns=tf.range(2))


def test_a_gap_of_hundreds_of_nats_does_not_underflow():
    """Opposite cosines at the lowest temperature: the positive has the probability e^-200."""
    loss, slope = value_and_gradient(
        lambda scores: in_batch_softmax(scores, temperature=0.01), [[-1.0, 1.0]]
    )
    np.testing.assert_allclose(loss, [200.0], rtol=1e-6)
    np.testing.assert_allclose(slope, [[-100.0, 100.0]], rtol=1e-6)


def test_the_entry_of_each_row_has_the_gradient_of_gather():
    random = np.random.default_rng(0)
    logits, upstream = random.normal(size=(2, 5, 7)).astype(np.float32)
    columns, weights = tf.constant([6, 0, 3, 3, 1]), tf.constant(upstream[:, 0])
    found = value_and_gradient(lambda z: weights * entry_of_each_row(z, columns), logits)
    expected = value_and_gradient(lambda z: weights * tf.gather(z, columns, batch_dims=1), logits)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def value_and_gradient(function, values):
    values = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(values)
        result = function(values)
    return result.numpy(), tape.gradient(result, values).numpy()
