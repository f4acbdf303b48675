import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.keras_api import keras
from tfrs_twotower.towers.protocol import TowerPair, TwoTowers, as_towers
from tfrs_twotower.towers.tower import Towers

STRING = tf.TensorSpec([None], tf.string, name="id")
NUMBERS = {"x": tf.TensorSpec([None, 3], tf.float32), "id": tf.TensorSpec([None], tf.string)}


def table(dim=4, dropout=0.0):
    layers = [keras.layers.StringLookup(vocabulary=["a", "b"]), keras.layers.Embedding(3, dim)]
    return keras.Sequential([*layers, keras.layers.Dropout(dropout)])


class Module(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.ones([3, 4]))

    def __call__(self, batch):
        return tf.matmul(batch["x"], self.kernel)


def pair(**changes):
    settings = {"query_inputs": STRING, "candidate_inputs": NUMBERS, **changes}
    return TowerPair(table(), Module(), **settings)


def test_a_model_of_one_tensor_and_a_module_of_named_ones():
    towers = as_towers(pair())
    found = towers.query({"id": tf.constant(["a", "?"]), "more": tf.constant([1, 2])})
    assert found.shape == (2, 4)
    raw = {"x": np.ones([2, 3], np.float64), "id": ["a", "b"]}
    np.testing.assert_array_equal(towers.candidate(raw), np.full([2, 4], 3.0))
    assert towers.embedding_dim == 4
    assert [v.shape for v in towers.trainable_variables] == [[3, 4], [3, 4]]
    assert not towers.query.unit_length


def test_whatever_has_the_four_names_is_two_towers():
    class Own(keras.Model):
        query_inputs = candidate_inputs = {"id": tf.TensorSpec([None], tf.string)}

        def __init__(self):
            super().__init__()
            self.ids = table()

        def query_tower(self, batch):
            return self.ids(batch["id"])

        def candidate_tower(self, batch):
            return -self.ids(batch["id"])

    own: TwoTowers = Own()
    towers = as_towers(own)
    assert len(towers.trainable_variables) == 1
    raw = {"id": tf.constant(["a"])}
    np.testing.assert_array_equal(towers.query(raw), -towers.candidate(raw))


def test_built_towers_are_two_towers_as_they_are(spec, assets):
    from tests.fixtures.tiny import tiny_run_config
    from tfrs_twotower.towers.build import build_towers

    towers = build_towers(spec, tiny_run_config().model, assets, seed=1)
    assert as_towers(towers) is towers
    assert (towers.query_tower, towers.candidate_tower) == (towers.query, towers.candidate)
    assert towers.query_inputs == towers.query.inputs.signature
    assert towers.candidate_inputs == towers.candidate.inputs.signature


def test_training_mode_reaches_the_model():
    towers = as_towers(
        TowerPair(
            table(dropout=0.9),
            table(),
            **dict.fromkeys(("query_inputs", "candidate_inputs"), STRING),
        )
    )
    raw = {"id": tf.constant(["a"] * 50)}
    assert isinstance(towers, Towers)
    assert np.ptp(towers.query(raw).numpy(), axis=0).max() == 0.0
    assert np.ptp(towers.query(raw, training=True).numpy(), axis=0).max() > 0.0


def test_an_input_without_a_name():
    with pytest.raises(ValueError, match=r"query_inputs is .* which has no name"):
        pair(query_inputs=tf.TensorSpec([None], tf.string))


def test_towers_of_two_spaces_or_of_no_vectors():
    inputs = {"query_inputs": STRING, "candidate_inputs": STRING}
    with pytest.raises(ValueError, match="vectors of 4 numbers and the candidate tower of 5"):
        as_towers(TowerPair(table(4), table(5), **inputs))
    with pytest.raises(ValueError, match=r"the query tower gives int64 of shape \(1,\)"):
        as_towers(TowerPair(keras.layers.StringLookup(vocabulary=["a"]), table(), **inputs))


def test_candidates_that_come_as_vectors():
    alone = TowerPair(table(), query_inputs=STRING)
    assert (alone.candidate_tower, alone.candidate_inputs) == (None, {})
    assert isinstance(alone, TwoTowers)
    with pytest.raises(ValueError, match="there is no candidate tower; training needs both"):
        as_towers(alone)


def test_a_batch_that_lacks_an_input():
    with pytest.raises(ValueError, match="candidate_inputs: the batch lacks x; found id"):
        as_towers(pair()).candidate({"id": tf.constant(["a"])})
