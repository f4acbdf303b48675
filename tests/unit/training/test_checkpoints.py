import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.errors import TrainingError
from tfrs_twotower.training.checkpoints import Checkpoints


def holder(value=0.0, size=2):
    module = tf.Module()
    module.v = tf.Variable(tf.fill([size], float(value)))
    return module


def test_variables_and_facts_come_back(tmp_path):
    Checkpoints(tmp_path, model=holder(3.0)).save(7, {"step": 7, "best": {"x": 0.5}}, 7)
    model = holder()
    assert Checkpoints(tmp_path, model=model).restore() == {"step": 7, "best": {"x": 0.5}}
    np.testing.assert_array_equal(model.v, 3.0)


def test_nothing_to_restore(tmp_path):
    assert Checkpoints(tmp_path / "new", model=holder()).restore() is None


def test_best_weights_are_kept_as_long_as_a_checkpoint_refers_to_them(tmp_path):
    model = holder(1.0)
    checkpoints = Checkpoints(tmp_path, model=model)
    checkpoints.save_best(5, [model.v])
    checkpoints.save(5, {}, best_step=5)
    model.v.assign([2.0, 2.0])
    checkpoints.save_best(9, [model.v])
    assert len(list(tmp_path.glob("best-*.npz"))) == 2
    checkpoints.save(9, {}, best_step=9)
    assert [path.name for path in tmp_path.glob("best-*.npz")] == ["best-0000000009.npz"]
    model.v.assign([0.0, 0.0])
    checkpoints.load_best(9, [model.v])
    np.testing.assert_array_equal(model.v, 2.0)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    Checkpoints(tmp_path, model=holder(size=2)).save(1, {}, 0)
    with pytest.raises(TrainingError, match=r"cannot be resumed from.*Remove .* to train from"):
        Checkpoints(tmp_path, model=holder(size=3)).restore()
