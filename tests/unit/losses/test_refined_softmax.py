import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.contracts.loss_contract import LossContract
from tests.reference import losses as reference
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.masks import accidental_hits
from tfrs_twotower.losses.softmax_variants import refined_softmax


class TestRefinedSoftmax(LossContract):
    def options(self, rows, temperature):
        return {
            "temperature": temperature,
            "sampling_probability": (np.asarray(rows) + 1) / 25,
            "hidden": np.array(reference.accidental_hits(rows, rows)),
        }

    def loss(self, queries, candidates, rows, temperature):
        return refined_softmax(
            tf.matmul(queries, candidates, transpose_b=True),
            temperature=temperature,
            sampling_probability=tf.cast(rows + 1, tf.float32) / 25,
            hidden=accidental_hits(rows, rows),
        )

    def frozen(self, queries, candidates, rows, temperature):
        options = self.options(rows.numpy(), temperature)
        weights = [part[0] for part in reference.refined_parts(queries @ candidates.T, **options)]

        def loss(q, c):
            parts = reference.refined_parts((q @ tf.transpose(c)).numpy(), **options)
            return [w * behind for w, (_, behind) in zip(weights, parts, strict=True)]

        return loss


def a_case(seed):
    random = np.random.default_rng(seed)
    return {
        "scores": random.normal(size=(5, 8)),
        "sampling_probability": random.uniform(1e-9, 1.0, 8),
        "hidden": random.random((5, 8)) < 0.4,
        "positive_columns": random.integers(0, 8, 5).astype(np.int32),
    }


def test_hand_worked():
    # Positive e / 1, one negative 1 / 0.5: 1 - pi = 2 / (e + 2).
    loss = refined_softmax(tf.constant([[1.0, 0.0]]), sampling_probability=tf.constant([0.1, 0.5]))
    np.testing.assert_allclose(loss, [2 / (np.e + 2) * (np.log(1 / 0.5) - 1)], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference_in_all_combinations(seed):
    case = a_case(seed)
    scores = case.pop("scores")
    for names in itertools.chain.from_iterable(
        itertools.combinations(case, n) for n in range(len(case) + 1)
    ):
        options = {"temperature": 0.25, "logq_strength": 0.5}
        options |= {name: case[name] for name in names}
        expected = reference.refined_softmax(scores, **options)
        np.testing.assert_allclose(
            refined_softmax(tf.constant(scores), **options), expected, rtol=1e-9
        )


def test_without_correction_the_gradient_is_that_of_the_plain_softmax():
    # (1 - pi) (sum_j rho_j ds_j - ds_pos) with all candidates as columns is the softmax's own.
    scores = a_case(0)["scores"]
    (expected,) = gradient_of(lambda s: in_batch_softmax(s, temperature=0.3), scores)
    (gradient,) = gradient_of(lambda s: refined_softmax(s, temperature=0.3), scores)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)


def test_the_positive_has_no_correction():
    case = a_case(1)
    probability = case["sampling_probability"]
    losses = refined_softmax(case["scores"], sampling_probability=probability).numpy()
    probability[2] *= 1000
    changed = refined_softmax(case["scores"], sampling_probability=probability).numpy()
    np.testing.assert_array_equal(losses == changed, np.arange(5) == 2)


def test_what_is_learned_weighs_little():
    scores = np.array([[5.0, 0.0, 0.0], [0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    (gradient,) = gradient_of(
        lambda s: refined_softmax(s, positive_columns=tf.constant([0, 0, 1])), scores
    )
    sizes = np.abs(gradient).sum(axis=1)
    np.testing.assert_allclose(sizes[0], 2 * 2 / (np.exp(5) + 2), rtol=1e-6)
    assert sizes[0] < 0.1 * sizes[1] < sizes[2]


def test_a_row_without_negatives_costs_nothing():
    hidden = np.zeros((3, 3), bool)
    hidden[1] = True

    def loss(scores):
        return refined_softmax(scores, temperature=0.01, hidden=hidden)

    scores = a_case(2)["scores"][:3, :3]
    assert loss(tf.constant(scores)).numpy()[1] == 0.0
    (gradient,) = gradient_of(loss, scores)
    np.testing.assert_array_equal(gradient[1], 0.0)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(refined_softmax(tf.constant([[0.7]])), [0.0])


def test_a_hidden_candidate_has_gradient_zero():
    case = a_case(3)
    scores, hidden = case.pop("scores"), case["hidden"]
    (gradient,) = gradient_of(lambda s: refined_softmax(s, **case), scores)
    own = np.arange(8) == case["positive_columns"][:, None]
    np.testing.assert_array_equal(gradient[hidden & ~own], 0.0)
    assert (gradient[own] < 0).all()
    assert (gradient[~hidden & ~own] > 0).all()
    np.testing.assert_allclose(gradient.sum(axis=1), 0.0, atol=1e-12)


def test_property_1_9_6_the_refined_gradient_is_nearer_to_the_full_softmax():
    # 20 queries, each with a candidate of its own that is in the batch for certain; the other 64
    # columns are drawn by popularity.
    size, batch, repeats = 20, 64, 200
    random = np.random.default_rng(0)
    popularity = 1.0 / np.arange(1, size + 1)
    popularity /= popularity.sum()
    scores = random.normal(size=(size, size))
    wanted = [reference.full_softmax_gradient(row, i) for i, row in enumerate(scores.tolist())]
    everything = np.arange(size)
    batches = [random.choice(size, batch, p=popularity) for _ in range(repeats)]

    def error(loss, *, hide_hits):
        @tf.function(autograph=False)
        def slopes(columns, probability, hidden):
            losses = loss(
                columns,
                sampling_probability=probability,
                hidden=hidden,
                positive_columns=batch + tf.range(size),
            )
            return tf.gradients(losses, columns)[0]

        mean = np.zeros((size, size))
        for drawn in batches:
            rows = np.concatenate([drawn, everything])
            hits = (drawn == everything[:, None]) & hide_hits
            hidden = np.concatenate([hits, ~np.eye(size, dtype=bool)], axis=1)
            gradient = slopes(
                *map(tf.constant, (scores[:, rows], batch * popularity[rows], hidden))
            )
            np.add.at(mean.T, rows, gradient.numpy().T / repeats)
        return np.linalg.norm(mean - wanted, axis=1)

    refined = error(refined_softmax, hide_hits=True)
    for hide_hits in (True, False):
        plain = error(in_batch_softmax, hide_hits=hide_hits)
        assert refined.mean() < 0.8 * plain.mean()
        # Also if a query comes as often as its candidate.
        assert refined @ popularity < 0.9 * plain @ popularity
