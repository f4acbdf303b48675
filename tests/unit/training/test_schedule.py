import math

import pytest

from tfrs_twotower.config import OptimizerConfig
from tfrs_twotower.training.plan import learning_rate_schedule


def rate(step, **changes):
    config = {"learning_rate": 0.4, "warmup_steps": 10, **changes}
    return float(learning_rate_schedule(OptimizerConfig.model_validate(config), 110)(step))


def test_warm_up_is_linear():
    assert rate(1) == pytest.approx(0.4 * 1 / 10)
    assert rate(5) == pytest.approx(0.4 * 5 / 10)
    assert rate(10) == rate(11) == rate(1000) == 0.4


def test_no_warm_up():
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
