import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.list_loss_contract import ListLossContract
from tests.reference import list_losses as reference
from tfrs_twotower.losses.list_losses import binary_cross_entropy, mean_of_present


class TestBinaryCrossEntropy(ListLossContract):
    def loss(self, scores, targets, present=None):
        return binary_cross_entropy(scores, targets, present=present)


def test_hand_worked():
    # At logit 0 every answer costs log 2; at log 3 the probability is 3/4.
    losses = binary_cross_entropy(
        tf.constant([[0.0, 0.0], [np.log(3), np.log(3)]], tf.float32),
        tf.constant([[1.0, 0.0], [1.0, 0.0]]),
    )
    np.testing.assert_allclose(losses, [np.log(2), -(np.log(3 / 4) + np.log(1 / 4)) / 2], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference(seed):
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
