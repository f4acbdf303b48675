import numpy as np
import pytest
import tensorflow as tf

from tests.reference import losses as reference
from tfrs_twotower.tasks.objective import Objective, weighted_mean


def test_the_sum_of_means_by_hand():
    objective = Objective({"a": 1.0, "b": 0.5})
    total, means = objective({"a": tf.constant([1.0, 3.0]), "b": tf.constant([4.0, 8.0])})
    assert float(means["a"]) == (1 + 3) / 2
    assert float(means["b"]) == (4 + 8) / 2
    assert float(total) == 1.0 * 2 + 0.5 * 6


def test_the_mean_is_weighted_and_equals_the_reference():
    losses, weights = [1.0, 2.0, 7.0], [0.5, 0.0, 2.0]
    mean = weighted_mean(tf.constant(losses), tf.constant(weights))
    assert float(mean) == pytest.approx((0.5 * 1 + 2.0 * 7) / 2.5)
    assert float(mean) == pytest.approx(reference.weighted_mean(losses, weights))


def test_doubling_all_weights_or_the_batch_changes_nothing():
    losses, weights = tf.constant([1.0, 2.0]), tf.constant([1.0, 3.0])
    mean = weighted_mean(losses, weights)
    np.testing.assert_allclose(weighted_mean(losses, 2 * weights), mean)
    doubled = weighted_mean(tf.tile(losses, [2]), tf.tile(weights, [2]))
    np.testing.assert_allclose(doubled, mean)


def test_a_row_of_weight_zero_is_absent_even_if_its_loss_is_nan():
    assert float(weighted_mean(tf.constant([2.0, np.nan]), tf.constant([1.0, 0.0]))) == 2.0


def test_all_weights_zero_give_zero():
    assert float(weighted_mean(tf.constant([2.0]), tf.constant([0.0]))) == 0.0


def test_a_term_of_weight_zero_is_absent():
    objective = Objective({"a": 1.0, "b": 0.0})
    total, means = objective({"a": tf.constant([1.0])})
    assert float(total) == 1.0
    assert list(means) == ["a"]


def test_shares_of_replicas_add_up_to_the_mean():
    losses, weights = tf.constant([1.0, 2.0, 5.0, 7.0]), tf.constant([1.0, 0.5, 2.0, 1.5])
    objective = Objective({"a": 2.0})
    whole = objective({"a": losses}, weights)[0]
    shares = [
        objective({"a": losses[part]}, weights[part], total_weight=tf.reduce_sum(weights))[0]
        for part in (slice(0, 2), slice(2, 4))
    ]
    np.testing.assert_allclose(shares[0] + shares[1], whole, rtol=1e-6)


def test_terms_must_be_those_of_the_objective():
    with pytest.raises(ValueError, match=r"losses are given for \['b'\]; the objective has"):
        Objective({"a": 1.0})({"b": tf.constant([1.0])})


@pytest.mark.parametrize("weights", [{"a": -1.0}, {"a": 0.0}, {}])
def test_weights_must_make_sense(weights):
    with pytest.raises(ValueError, match="none may be negative, and one must be above 0"):
        Objective(weights)
