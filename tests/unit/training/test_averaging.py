import numpy as np
import pytest
import tensorflow as tf

from tests.unit.training.test_fitting import prepare, weights_of
from tfrs_twotower.training.averaging import WeightAverage


def follow(path, steps_per_epoch=1.0):
    """The averages of a variable that takes these values, one after each step."""
    variable = tf.Variable(np.zeros_like(path[0]))
    average = WeightAverage([variable], steps_per_epoch=steps_per_epoch)
    found = []
    for step, value in enumerate(path, 1):
        variable.assign(value)
        average.update(step)
        with average.in_place():
            found.append(variable.numpy())
        np.testing.assert_array_equal(variable.numpy(), value)  # training goes on from its own
    return np.array(found)


def test_three_steps_by_hand():
    found = follow(np.float32([1.0, 2.0, 3.0]))
    second = 1 / 4 * 1 + 3 / 4 * 2
    np.testing.assert_allclose(found, [1.0, second, 2 / 5 * second + 3 / 5 * 3], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_each_step_counts_as_the_product_of_the_rates_says(seed):
    path = np.random.default_rng(seed).normal(size=(12, 3)).astype(np.float32)
    rates, found = 3 / (2 + np.arange(1, 13)), follow(path)
    for last in range(1, 13):
        shares = [rates[i] * np.prod(1 - rates[i + 1 : last]) for i in range(last)]
        assert sum(shares) == pytest.approx(1.0)
        np.testing.assert_allclose(found[last - 1], shares @ path[:last], rtol=1e-5, atol=1e-6)


def test_the_last_third_of_any_training_counts_for_two_thirds_and_more():
    for length in (30, 300):
        steps = np.eye(length, dtype=np.float32)
        shares = follow(steps)[-1]
        assert shares[: length // 3].sum() < 0.05
        assert shares[length * 2 // 3 :].sum() > 2 / 3


def test_of_a_long_epoch_every_few_steps_are_read():
    path = np.float32([5.0, 7.0, 9.0, 11.0, 13.0, 15.0])
    found = follow(path, steps_per_epoch=150.0)
    # The first step is there until the third comes; then steps 3 and 6.
    np.testing.assert_allclose(found, [5, 5, 9, 9, 9, 1 / 4 * 9 + 3 / 4 * 15], rtol=1e-6)


def test_weights_that_stand_still_are_their_own_mean():
    path = np.full((9, 2), 0.7, np.float32)
    np.testing.assert_allclose(follow(path), path, rtol=1e-6)


def test_planted_noise_is_less_in_the_mean_than_in_any_step():
    """Gradient descent on (x - 1)^2 / 2 with noisy gradients, at a constant rate."""
    random = np.random.default_rng(3)
    x, path = np.zeros(200), []
    for _ in range(300):
        x = x - 0.2 * (x - 1.0 + random.normal(size=200))
        path.append(x)
    error = ((follow(np.float32(path)) - 1.0) ** 2).mean(axis=1)
    of_a_step = ((np.array(path) - 1.0) ** 2).mean(axis=1)
    assert error[-1] < 0.25 * of_a_step[50:].min()


def test_the_trained_weights_come_back_after_an_error():
    variable = tf.Variable(1.0)
    average = WeightAverage([variable], steps_per_epoch=1.0)
    average.update(1)
    variable.assign(3.0)
    with pytest.raises(ZeroDivisionError, match="division"), average.in_place():
        1 / 0  # noqa: B018
    assert variable.numpy() == 3.0


def test_a_training_without_early_stopping_keeps_the_mean(tmp_path):
    last, plain = prepare(tmp_path / "last", early_stopping=None, average_weights=False, epochs=2)
    plain.run()
    path = []
    model, fitting = prepare(
        tmp_path / "mean",
        early_stopping=None,
        epochs=2,
        report=lambda _: path.append(model.towers.query.table.numpy()),
    )
    fitting.run()
    np.testing.assert_array_equal(path[-1], last.towers.query.table.numpy())  # the same steps
    np.testing.assert_allclose(
        model.towers.query.table.numpy(), follow(np.array(path))[-1], rtol=1e-4, atol=1e-6
    )


def test_what_is_measured_is_what_is_kept(tmp_path):
    model, fitting = prepare(tmp_path, epochs=3)
    measured = {}
    measure = fitting._validator.measure

    def remember():
        measured[fitting._progress.step] = weights_of(model)
        return measure()

    fitting._validator.measure = remember
    result = fitting.run()
    assert len(measured) == 3
    for name, value in weights_of(model).items():
        np.testing.assert_array_equal(value, measured[result.best_step][name], err_msg=name)
