"""One small evaluation without a second stage and one with it, made once for the whole room."""

from dataclasses import replace

import pytest

from tests.unit.evaluation.stages import random_stage
from tests.unit.evaluation.world import CONFIG, make_world
from tfrs_twotower.evaluation.evaluated_data import LogLine
from tfrs_twotower.evaluation.evaluating import evaluate


@pytest.fixture(scope="session")
def inputs():
    return make_world()


@pytest.fixture(scope="session")
def evaluation(inputs):
    return evaluate(inputs, CONFIG, refit=True)


@pytest.fixture(scope="session")
def two_stages(inputs):
    losses = {"loss": 2.0, "list_softmax": 1.0, "pointwise": 0.5}
    log = [LogLine(step, losses, member=member) for member in (0, 1) for step in (1, 2)]
    log[1] = replace(log[1], validation={"ndcg@10": 0.3})
    return replace(inputs, second_stage=random_stage(3, 40, 30, (0.2, 1.0, 0.5, -0.25), 12, log))


@pytest.fixture(scope="session")
def cascade(two_stages):
    return evaluate(two_stages, CONFIG, refit=True)
