import math

import pytest

from tfrs_twotower.config import OptimizerConfig
from tfrs_twotower.training.plan import learning_rate


def rate(step, **changes):
    config = {"learning_rate": 0.4, "warmup_steps": 10, **changes}
    return learning_rate(OptimizerConfig.model_validate(config), step, 110)


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
