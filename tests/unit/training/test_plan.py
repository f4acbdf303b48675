import pytest

from tests.unit.training.toy import toy_config
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.training.plan import fit_batch_size, plan_fit, plan_refit


def test_a_batch_that_fits_twice_is_kept():
    assert fit_batch_size(50, toy_config(batch_size=25)) == (25, "")


def test_a_batch_that_does_not_fit_twice_is_lowered_and_said():
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
