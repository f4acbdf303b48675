import json

import numpy as np
import pytest
import tensorflow as tf

from tests.benchmarks.training_throughput.__main__ import main
from tests.benchmarks.training_throughput.large_table import dense_of_size
from tests.benchmarks.training_throughput.measuring import Times, compare
from tests.benchmarks.training_throughput.ml_1m import Size, make_world
from tests.benchmarks.training_throughput.systems import (
    fitting_config,
    keras_loop,
    project,
    tfrs_model,
)
from tfrs_twotower.keras_api import keras

SMALL = Size(num_queries=60, num_candidates=40, num_examples=500)


def weights_after_a_step(make, directory):
    world = make_world(SMALL, 2, dropout=0.0)
    # The whole epoch is the batch, so that all systems see the same one whatever they shuffle.
    config = fitting_config(500)
    before = {v.name: v.numpy() for v in world.towers.trainable_variables}
    make(world, config, directory)()
    return {
        v.name: v.numpy() - before[v.name]
        for v in world.towers.trainable_variables
        if (v.numpy() != before[v.name]).any()
    }


@pytest.mark.parametrize(
    ("objective", "make"),
    [
        ("retrieval", lambda world, config, _: keras_loop(world, config, "retrieval")),
        ("retrieval", lambda world, config, _: tfrs_model(world, config)),
        ("joint", lambda world, config, _: keras_loop(world, config, "joint")),
        ("joint", lambda world, config, _: keras_loop(world, config, "joint", plain_pairs=True)),
    ],
    ids=["keras", "tfrs", "keras-joint", "keras-plain-pairs"],
)
def test_all_systems_do_the_same_step(tmp_path, objective, make):
    def own(world, config, directory):
        return project(world, config, objective, directory, mask=False)

    moved = weights_after_a_step(own, tmp_path)
    others = weights_after_a_step(make, tmp_path)
    assert moved.keys() == others.keys()
    # Adam's first step is the gradient's sign, whatever its scale; TFRS sums over the batch.
    agree = [(np.sign(others[name]) == np.sign(moved[name])).ravel() for name in moved]
    assert np.mean(np.concatenate(agree)) > 0.99


def test_the_whole_benchmark(tmp_path, capsys):
    path = tmp_path / "figures.json"
    sizes = "--queries 60 --candidates 40 --examples 500 --batch-size 16 --heads 2"
    effort = f"--rounds 2 --steps 1 --warmup 1 --table-rows 70000 --json {path}"
    main([*sizes.split(), *effort.split(), "--objectives", "joint"])
    text = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert list(found["joint"]["systems"]) == [
        "project, same mask",
        "project, default mask",
        "Keras loop",
    ]
    assert all(name in text for name in found["joint"]["systems"])
    assert all(found["joint"]["sparse_off_the_tape"].values())
    assert found["large_table"]["dense_of_its_size"] == []


def test_a_ratio_is_taken_inside_a_round():
    # The second round was slow for both: 3 / 2, 30 / 20 and 1 / 1, whose median is 1.5.
    own, other = Times([2.0, 20.0, 1.0], [1.0] * 3), Times([3.0, 30.0, 1.0], [2.0] * 3)
    found = compare({"own": own, "other": other}, batch_size=100)
    assert found["other"]["wall_ratio"] == 1.5
    assert found["other"]["cpu_ratio"] == 2.0
    assert found["own"]["examples_per_s"] == 100 / 2.0


def test_dense_moments_of_keras_are_found():
    table = tf.Variable(tf.zeros([77, 2]))
    optimizer = keras.optimizers.AdamW()
    optimizer.build([table])

    def step():
        gradient = tf.IndexedSlices(tf.ones([1, 2]), tf.constant([3]), tf.constant([77, 2]))
        optimizer.apply_gradients([(gradient, table)])

    assert "Mul" in dense_of_size(step, 77)
    assert dense_of_size(lambda: tf.gather(table, [1, 2]), 77) == []
