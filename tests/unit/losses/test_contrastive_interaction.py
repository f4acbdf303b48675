import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.contracts.loss_contract import LossContract
from tests.reference import losses as reference
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.list_losses import contrastive_interaction
from tfrs_twotower.losses.negative_columns import accidental_hits


class TestContrastiveInteraction(LossContract):
    def loss(self, queries, candidates, rows, temperature):
        return contrastive_interaction(
            tf.reshape(queries, [queries.shape[0], 2, -1]),
            tf.reshape(candidates, [candidates.shape[0], 2, -1]),
            temperature=temperature,
            hidden=accidental_hits(rows, rows),
        )


def heads(seed, batch=4, columns=6):
    random = np.random.default_rng(seed)
    return random.normal(size=(batch, 3, 2)), random.normal(size=(columns, 3, 2))


def unit(vectors):
    flat = vectors.reshape(len(vectors), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def test_hand_worked():
    # Two heads of one number each: cosines 3/5 and 4/5 with the two candidates.
    loss = contrastive_interaction(
        tf.constant([[[3.0], [4.0]]]),
        tf.constant([[[2.0], [0.0]], [[0.0], [7.0]]]),
        temperature=0.1,
    )
    np.testing.assert_allclose(loss, [np.log(1 + np.exp((4 / 5 - 3 / 5) / 0.1))], rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference(seed):
    queries, candidates = heads(seed)
    random = np.random.default_rng(seed)
    for options in (
        {},
        {
            "labels": random.integers(0, 2, 4),
            "hidden": random.random((4, 6)) < 0.3,
            "positive_columns": random.integers(0, 6, 4).astype(np.int32),
        },
    ):
        expected = reference.contrastive_interaction(
            queries, candidates, temperature=0.25, **options
        )
        actual = contrastive_interaction(queries, candidates, temperature=0.25, **options)
        np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_distinct_candidates_give_the_in_batch_softmax_of_the_positives():
    queries, candidates = heads(0, columns=4)
    labels = np.array([1, 0, 1, 0])
    losses = contrastive_interaction(queries, candidates, temperature=0.25, labels=labels)
    softmax = in_batch_softmax(unit(queries) @ unit(candidates).T, temperature=0.25)
    np.testing.assert_allclose(losses, labels * softmax.numpy(), rtol=1e-9)


def test_a_pair_with_label_zero_has_no_loss_but_its_candidate_is_a_negative():
    queries, candidates = heads(1, columns=4)
    labels = np.array([1, 0, 1, 0])

    def loss(q, c):
        return contrastive_interaction(q, c, temperature=0.25, labels=labels)

    of_queries, of_candidates = gradient_of(loss, queries, candidates)
    np.testing.assert_array_equal(of_queries[labels == 0], 0.0)
    assert np.abs(of_queries[labels == 1]).max(axis=(1, 2)).min() > 0
    assert np.abs(of_candidates).max(axis=(1, 2)).min() > 0


def pairs_of_cosine(cosines):
    """Queries e_i and candidates c_i e_i + sqrt(1 - c_i^2) f_i: other cosines are all 0."""
    batch = cosines.shape[0]
    queries = tf.eye(batch, 2 * batch, dtype=cosines.dtype)
    others = tf.roll(queries, batch, axis=1)
    sines = tf.sqrt(1 - cosines**2)
    candidates = cosines[:, None] * queries + sines[:, None] * others
    return tf.reshape(queries, [batch, 2, batch]), tf.reshape(candidates, [batch, 2, batch])


COSINES, LABELS = np.array([0.3, -0.6, 0.9]), np.array([1.0, 0.0, 1.0])


def test_a_positive_pair_is_pulled_together():
    (gradient,) = gradient_of(
        lambda c: contrastive_interaction(*pairs_of_cosine(c), temperature=0.1, labels=LABELS),
        COSINES,
    )
    # d/dc of log(e^(c/t) + 2) - c/t is (p - 1) / t.
    probability = np.exp(COSINES / 0.1) / (np.exp(COSINES / 0.1) + 2)
    np.testing.assert_allclose(gradient, LABELS * (probability - 1) / 0.1, rtol=1e-5, atol=1e-12)
    assert (gradient[LABELS == 1] < 0).all()


def test_the_formula_of_the_early_code_does_not_pull_positive_pairs():
    # The code published before 2023-08-29: -log(e^positives / e^all), both being means over
    # all numbers of u * v / t. It moves only the pairs that are not positives.
    def legacy(cosines):
        queries, candidates = pairs_of_cosine(cosines)
        products = queries * candidates / 0.1
        positives = tf.reduce_mean(products * LABELS[:, None, None])
        return tf.reduce_mean(products) - positives

    (gradient,) = gradient_of(legacy, COSINES)
    np.testing.assert_allclose(gradient[LABELS == 1], 0.0, atol=1e-15)
    assert gradient[LABELS == 0].min() > 0.1


def test_a_hidden_candidate_has_gradient_zero():
    queries, candidates = heads(2, batch=1)
    hidden = np.array([[False, True, False, True, False, False]])
    _, gradient = gradient_of(
        lambda q, c: contrastive_interaction(q, c, temperature=0.1, hidden=hidden),
        queries,
        candidates,
    )
    np.testing.assert_array_equal(np.abs(gradient).max(axis=(1, 2)) == 0.0, hidden[0])


def test_heads_must_flatten_to_one_length():
    with pytest.raises(ValueError, match=r"heads are \(4, 2\) of a query and \(2, 2\) of a cand"):
        contrastive_interaction(tf.ones([3, 4, 2]), tf.ones([3, 2, 2]), temperature=0.1)
