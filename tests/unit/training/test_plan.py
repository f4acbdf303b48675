import math

import numpy as np
import pytest

from tests.unit.training.toy import toy_config
from tfrs_twotower.config import OptimizerConfig
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.training.plan import (
    BatchOrder,
    fit_batch_size,
    learning_rate_schedule,
    plan_fit,
    plan_refit,
    time_decay,
)


def test_time_decay_by_hand():
    day = 86_400
    weights = time_decay(
        np.array([100 * day, 90 * day, 80 * day, 101 * day]), half_life_days=10, end_s=100 * day
    )
    np.testing.assert_allclose(weights, [1, 1 / 2, 1 / 4, 1])


def rate(step, **changes):
    config = {"learning_rate": 0.4, "warmup_steps": 10, **changes}
    return float(learning_rate_schedule(OptimizerConfig.model_validate(config), 110)(step))


def test_warm_up_is_linear():
    assert rate(1) == pytest.approx(0.4 * 1 / 10)
    assert rate(5) == pytest.approx(0.4 * 5 / 10)
    assert rate(10) == rate(11) == rate(1000) == 0.4


def test_without_warm_up_the_peak_rate_starts_at_once():
    assert rate(1, warmup_steps=0) == 0.4


def test_cosine_falls_to_zero_at_the_horizon():
    assert rate(10, decay="cosine") == 0.4
    assert rate(60, decay="cosine") == pytest.approx(0.4 * (1 + math.cos(math.pi / 2)) / 2)
    assert rate(110, decay="cosine") == pytest.approx(0.0)
    assert rate(200, decay="cosine") == pytest.approx(0.0)


@pytest.mark.parametrize("decay", ["none", "cosine"])
@pytest.mark.parametrize("peak", [0.001, 0.002, 0.003])
def test_every_rate_is_that_of_the_formula_to_the_last_bit(decay, peak):
    for step in range(1, 112):
        done = min(max(step - 10, 0) / 100, 1) if decay == "cosine" else 0
        expected = peak * min(step / 10, 1) * (0.5 * (1 + math.cos(math.pi * done)))
        assert rate(step, learning_rate=peak, decay=decay) == expected


def test_a_horizon_within_the_warm_up():
    assert rate(200, warmup_steps=200, decay="cosine") == 0.4
    assert rate(201, warmup_steps=200, decay="cosine") == 0.0


def order(seed=1, buffer=1000, num_examples=10, batch_size=4):
    return BatchOrder(num_examples, batch_size, seed=seed, buffer=buffer)


@pytest.mark.parametrize("buffer", [1000, 3])
def test_epochs_follow_each_other_and_hold_each_example_once(buffer):
    stream = np.concatenate([order(buffer=buffer).batch(s) for s in range(10)])
    for epoch in range(4):
        examples = np.sort(stream[10 * epoch : 10 * epoch + 10])
        np.testing.assert_array_equal(examples, np.arange(10))


def test_a_batch_depends_on_the_seed_and_the_step_only():
    forwards, one = order(), order()
    batches = [forwards.batch(s) for s in range(8)]
    np.testing.assert_array_equal(one.batch(7), batches[7])
    np.testing.assert_array_equal(one.batch(2), batches[2])
    assert any((order(seed=2).batch(s) != batches[s]).any() for s in range(3))


@pytest.mark.parametrize(("buffer", "num_examples"), [(7, 40), (100, 40), (40, 40)])
def test_the_order_is_that_of_the_whole_permutation_and_only_a_block_is_held(buffer, num_examples):
    """The definition, with the whole epoch in memory; batches span blocks and epochs."""
    whole = []
    for epoch in range(3):
        random = np.random.Generator(np.random.Philox(key=[1, 1 + epoch]))
        if num_examples <= buffer:
            whole.append(random.permutation(num_examples))
            continue
        for start in random.permutation(np.arange(0, num_examples, buffer)).tolist():
            whole.append(start + random.permutation(min(buffer, num_examples - start)))
    wanted = np.concatenate(whole)[: 3 * 36].reshape(-1, 9)
    some = order(buffer=buffer, num_examples=num_examples, batch_size=9)
    for step in (*range(12), 2, 11, 0):
        assert some.batch(step).tolist() == wanted[step].tolist()
        assert len(some._block) <= buffer


def test_epochs_differ_in_their_order():
    batches = order(num_examples=100, batch_size=100)
    assert (batches.batch(0) != batches.batch(1)).any()


def test_a_small_buffer_shuffles_inside_its_blocks():
    stream = np.concatenate([order(buffer=3, num_examples=12).batch(s) for s in range(3)])
    blocks = {tuple(np.sort(part)) for part in stream.reshape(4, 3)}
    assert blocks == {(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)}


def test_a_batch_larger_than_an_epoch_is_refused():
    with pytest.raises(ValueError, match="batch_size is 11 with 10 examples"):
        order(batch_size=11)


def test_a_batch_that_fits_twice_is_kept():
    assert fit_batch_size(50, toy_config(batch_size=25)) == (25, "")


def test_a_batch_that_does_not_fit_twice_is_lowered_with_a_message():
    batch_size, message = fit_batch_size(49, toy_config(batch_size=25))
    assert batch_size == 24
    assert message == (
        "training.batch_size 25 is lowered to 24: there are only 49 training examples"
    )


def test_a_lowered_batch_divides_among_replicas():
    assert fit_batch_size(31, toy_config(batch_size=100, replicas=4))[0] == 12


@pytest.mark.parametrize(("num_examples", "replicas"), [(3, 1), (0, 1), (7, 2)])
def test_too_few_examples_are_refused(num_examples, replicas):
    with pytest.raises(TrainingError, match=f"found {num_examples} training examples.* at least"):
        fit_batch_size(num_examples, toy_config(batch_size=100, replicas=replicas))


def test_steps_of_epochs_and_of_max_steps():
    plan = plan_fit(105, 10, toy_config(epochs=3, evaluate_every_epochs=0.5))
    assert plan.last_step == plan.horizon == round(3 * 105 / 10)
    assert plan.evaluate_every == round(0.5 * 105 / 10)
    assert plan.epoch(21) == 2.0
    assert plan_fit(105, 10, toy_config(epochs=None, max_steps=7)).last_step == 7


def test_a_refit_makes_as_many_passes_over_more_examples():
    first = plan_fit(100, 10, toy_config(epochs=20))
    second = plan_refit(first, best_step=30, num_examples=110)
    assert second.batch_size == 10
    assert second.last_step == 33
    assert second.epoch(33) == first.epoch(30) == 3.0
    assert second.horizon == 220
    assert second.evaluate_every > second.last_step
