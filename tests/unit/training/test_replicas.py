"""Two logical CPUs need a process of their own: devices cannot be divided once TensorFlow runs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.unit.training.toy import toy_batch, toy_model
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.training.replicas import make_strategy

PROGRAM = """
import json
import tfrs_twotower
import numpy as np
import tensorflow as tf
from tfrs_twotower.training.replicas import make_strategy, spread
strategy = make_strategy(2)
from tests.unit.training.toy import toy_batch, toy_model
from tests.unit.training.test_replicas import ROWS, WEIGHTS
with strategy.scope():
    model = toy_model(num_uniform=5, learn_temperature=True)
batch = {name: value.numpy() if name != "tokens" else {"id": value["id"].numpy()}
         for name, value in toy_batch(ROWS, weights=WEIGHTS).items()}

@tf.function(autograph=False)
def step(batch):
    shares = strategy.run(model.train_step, args=(batch,))
    return {k: strategy.reduce(tf.distribute.ReduceOp.SUM, v, axis=None)
            for k, v in shares.items()}

values = [{k: float(v) for k, v in step(spread(strategy, batch)).items()} for _ in range(3)]
same = all(np.array_equal(*[r.numpy() for r in v.values]) for v in model.trainable_variables)
print(json.dumps({"values": values, "same": same,
                  "query": model.towers.query.table.numpy().tolist()}))
"""
ROWS = [3, 9, 9, 30, 41, 7, 3, 12]
WEIGHTS = [1.0, 0.5, 2.0, 1.0, 0.0, 1.0, 3.0, 1.0]


def test_two_replicas_make_the_steps_of_one():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    two = json.loads(result.stdout.splitlines()[-1])
    model = toy_model(num_uniform=5, learn_temperature=True)
    for values in two["values"]:
        one = model.train_step(toy_batch(ROWS, weights=WEIGHTS))
        for name, value in values.items():
            np.testing.assert_allclose(value, one[name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(two["query"], model.towers.query.table, rtol=1e-3, atol=1e-4)
    assert two["same"], "the replicas' copies have drifted apart"


def test_one_replica_needs_no_strategy():
    assert make_strategy(1) is None


def test_more_replicas_than_devices_are_refused():
    toy_model()  # TensorFlow is in use
    with pytest.raises(TrainingError, match=r"replicas is 64, but TensorFlow sees 0 GPUs"):
        make_strategy(64)
