import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.contracts.list_loss_contract import ListLossContract
from tests.reference import list_losses as reference
from tfrs_twotower.keras_api import keras
from tfrs_twotower.losses.list_losses import (
    binary_cross_entropy,
    listwise_kl,
    margin_mse,
    mean_of_present,
)


class TestBinaryCrossEntropy(ListLossContract):
    def loss(self, scores, targets, present=None):
        return binary_cross_entropy(scores, targets, present=present)


def test_cross_entropy_by_hand():
    # At logit 0 either label costs log 2; at logit log 3 the probability is 3/4.
    losses = binary_cross_entropy(
        tf.constant([[0.0, 0.0], [np.log(3), np.log(3)]], tf.float32),
        tf.constant([[1.0, 0.0], [1.0, 0.0]]),
    )
    np.testing.assert_allclose(losses, [np.log(2), -(np.log(3 / 4) + np.log(1 / 4)) / 2], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_cross_entropy_equals_the_reference(seed):
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3, size=(6, 5))
    labels = random.random((6, 5))
    present = random.random((6, 5)) < 0.5
    for mask in (None, present):
        np.testing.assert_allclose(
            binary_cross_entropy(tf.constant(logits), labels, present=mask),
            reference.binary_cross_entropy(logits, labels, mask),
            rtol=1e-9,
        )


def test_a_confident_error_costs_its_logit():
    losses = binary_cross_entropy(tf.constant([[1e4], [-1e4]]), tf.constant([[0.0], [1.0]]))
    np.testing.assert_array_equal(losses, [1e4, 1e4])


def test_mean_of_present():
    values, present = tf.constant([[1.0, 3.0], [5.0, 7.0]]), tf.constant([[1, 1], [0, 1]]) > 0
    np.testing.assert_array_equal(mean_of_present(values, present), [(1 + 3) / 2, 7.0])
    np.testing.assert_array_equal(mean_of_present(values, None), [(1 + 3) / 2, (5 + 7) / 2])


class TestListwiseKl(ListLossContract):
    of_best, of_rest = 10.0, 0.0

    def loss(self, scores, targets, present=None):
        return listwise_kl(scores, targets, teacher_temperature=2.0, present=present)


class TestMarginMse(ListLossContract):
    of_best, of_rest = 10.0, 0.0

    def loss(self, scores, targets, present=None):
        return margin_mse(scores, targets, present=present)


BOTH_DISTILLATIONS = pytest.mark.parametrize("loss", [listwise_kl, margin_mse])


def lists(seed):
    random = np.random.default_rng(seed)
    return random.normal(size=(6, 5)), 3 * random.normal(size=(6, 5)), random.random((6, 5)) < 0.7


def test_margin_mse_by_hand():
    loss = margin_mse(tf.constant([[2.0, 1.0]]), tf.constant([[5.0, 1.0]]))
    np.testing.assert_allclose(loss, [((2 - 1) - (5 - 1)) ** 2])


@BOTH_DISTILLATIONS
def test_no_loss_and_no_gradient_where_student_and_teacher_differ_by_a_constant(loss):
    scores, _, present = lists(0)
    teacher = scores + np.arange(6)[:, None]
    np.testing.assert_allclose(loss(scores, teacher, present=present), 0.0, atol=1e-12)
    (gradient,) = gradient_of(lambda s: loss(s, teacher, present=present), scores)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_divergence_is_never_negative(seed):
    scores, teacher, present = lists(seed)
    assert (listwise_kl(scores, teacher).numpy() > 0).all()
    assert (listwise_kl(scores, teacher, present=present).numpy() >= 0).all()


@BOTH_DISTILLATIONS
def test_adding_a_constant_to_student_or_teacher_changes_nothing(loss):
    scores, teacher, _ = lists(1)
    shift = np.arange(6)[:, None]
    expected = loss(scores, teacher)
    np.testing.assert_allclose(loss(scores + shift, teacher), expected, rtol=1e-9)
    np.testing.assert_allclose(loss(scores, teacher - shift), expected, rtol=1e-9)


def test_listwise_kl_by_hand():
    # Teacher (3/4, 1/4), student (1/2, 1/2).
    loss = listwise_kl(tf.zeros([1, 2]), tf.constant([[np.log(3), 0.0]], tf.float32))
    np.testing.assert_allclose(loss, [3 / 4 * np.log(3 / 2) + 1 / 4 * np.log(1 / 2)], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_distillation_equals_the_reference(seed):
    scores, teacher, present = lists(seed)
    temperatures = {"teacher_temperature": 1.7, "student_temperature": 0.3}
    for mask in (None, present):
        np.testing.assert_allclose(
            listwise_kl(tf.constant(scores), teacher, present=mask, **temperatures),
            reference.listwise_kl(scores, teacher, present=mask, **temperatures),
            rtol=1e-6,
            atol=1e-12,
        )
        np.testing.assert_allclose(
            margin_mse(tf.constant(scores), teacher, present=mask),
            reference.margin_mse(scores, teacher, mask),
            rtol=1e-9,
        )


def test_the_divergence_equals_that_of_keras():
    scores, teacher, _ = lists(2)
    expected = keras.losses.kl_divergence(tf.nn.softmax(teacher), tf.nn.softmax(scores))
    np.testing.assert_allclose(listwise_kl(scores, teacher), expected, rtol=1e-6)


@BOTH_DISTILLATIONS
def test_the_teacher_gets_no_gradient(loss):
    scores, teacher, _ = lists(3)
    slopes = gradient_of(loss, scores, teacher)
    assert np.abs(slopes[0]).min() > 0
    np.testing.assert_array_equal(slopes[1], 0.0)


def test_a_list_without_its_positive_has_no_margins():
    scores, teacher, present = lists(4)
    present[2, 0] = False
    assert margin_mse(scores, teacher, present=present).numpy()[2] == 0.0
