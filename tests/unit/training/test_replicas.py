"""Two logical CPUs need a process of their own: devices cannot be divided once TensorFlow runs."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.unit.training.replica_cases import CASES, ROWS
from tests.unit.training.toy import toy_model
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.training.replicas import make_strategy

PROGRAM = """
import json
import tfrs_twotower
import numpy as np
import tensorflow as tf
from tfrs_twotower.training.replicas import make_strategy, spread
strategy = make_strategy(2)
from tests.unit.training.replica_cases import CASES

def run(case):
    with strategy.scope():
        model, batches = case()

    @tf.function(autograph=False)
    def step(batch):
        shares = strategy.run(model.train_step, args=(batch,))
        return {k: strategy.reduce(tf.distribute.ReduceOp.SUM, v, axis=None)
                for k, v in shares.items()}

    values = [{k: float(v) for k, v in step(spread(strategy, batch)).items()} for batch in batches]
    return {
        "values": values,
        "variables": {v.name: v.numpy().tolist() for v in model.variables},
        "drifted": [v.name for v in model.variables
                    if not np.array_equal(*[copy.numpy() for copy in v.values])],
    }

print(json.dumps({case.__name__: run(case) for case in CASES}))
"""


@pytest.fixture(scope="module")
def two_replicas():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_two_replicas_make_the_steps_of_one(case, two_replicas):
    two = two_replicas[case.__name__]
    model, batches = case()
    step = tf.function(model.train_step, autograph=False)
    for batch, values in zip(batches, two["values"], strict=True):
        one = step(tf.nest.map_structure(tf.constant, batch))
        assert set(one) == set(values)
        for name, value in values.items():
            np.testing.assert_allclose(value, one[name], rtol=1e-4, err_msg=name)
    assert {v.name for v in model.variables} == set(two["variables"])
    for variable in model.variables:
        if variable.name == "scorer.bias:0":
            continue  # a softmax does not depend on it; Adam turns its rounding error into a step
        np.testing.assert_allclose(
            two["variables"][variable.name],
            variable.numpy(),
            rtol=1e-3,
            atol=2e-4,
            err_msg=variable.name,
        )
    assert two["drifted"] == []


def test_the_memories_were_written(two_replicas):
    of_dat = two_replicas["dat"]["variables"]
    (memory,) = [value for name, value in of_dat.items() if name.endswith("memory:0")]
    assert 3 <= np.any(memory, axis=1).sum() <= 3 * 8
    rows = two_replicas["dual_same_tower_and_memory"]["variables"]["rows:0"]
    # The last 12 of three batches of 8, in a ring.
    np.testing.assert_array_equal(rows, [*ROWS[4:], *ROWS])


def test_one_replica_needs_no_strategy():
    assert make_strategy(1) is None


def test_more_replicas_than_devices_are_refused():
    toy_model()  # TensorFlow is in use
    with pytest.raises(TrainingError, match=r"replicas is 64, but TensorFlow sees 0 GPUs"):
        make_strategy(64)
