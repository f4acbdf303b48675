import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower import TowerPair
from tfrs_twotower.keras_api import keras
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.protocol import as_towers
from tfrs_twotower.training.in_batch_negatives import InBatchNegatives
from tfrs_twotower.training.two_tower_model import TwoTowerModel

VECTOR = tf.TensorSpec([None, 2], tf.float32)
BATCH = {
    "query": {"q": np.eye(2, dtype=np.float32)[[0, 0, 1, 1]], "user": ["u", "v", "w", "u"]},
    "candidate": {"c": np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], "item": ["a", "b", "a", "c"]},
}


def pair():
    dense = [keras.layers.Dense(2, use_bias=False, kernel_initializer="identity") for _ in "ab"]
    return TowerPair(
        dense[0],
        dense[1],
        query_inputs=tf.TensorSpec([None, 2], tf.float32, name="q"),
        candidate_inputs=tf.TensorSpec([None, 2], tf.float32, name="c"),
    )


def embedded(training=False, **ids):
    negatives = InBatchNegatives(**ids)
    return negatives.embed(as_towers(pair()), BATCH, training), negatives


def test_without_ids_nothing_is_hidden_and_nothing_corrected():
    batch, _ = embedded()
    np.testing.assert_array_equal(batch.hidden, np.eye(4, dtype=bool))
    assert batch.expected is None
    np.testing.assert_array_equal(batch.query.embedding, BATCH["query"]["q"])
    np.testing.assert_array_equal(batch.columns, BATCH["candidate"]["c"])


def test_a_candidate_id_hides_accidental_hits():
    batch, _ = embedded(candidate_id="item", logq=False)
    expected = np.eye(4, dtype=bool)
    expected[0, 2] = expected[2, 0] = True
    np.testing.assert_array_equal(batch.hidden, expected)
    np.testing.assert_array_equal(batch.reverse_hidden, expected.T)
    assert batch.expected is None


def test_a_query_id_hides_the_querys_other_candidates():
    batch, _ = embedded(candidate_id="item", query_id="user")
    expected = np.eye(4, dtype=bool)
    for one, other in ((0, 2), (0, 3)):
        expected[one, other] = expected[other, one] = True
    np.testing.assert_array_equal(batch.hidden, expected)


def test_counts_are_shares_of_a_batch():
    batch, _ = embedded(candidate_id="item", candidate_counts={"a": 6, "b": 2})
    # "c" was not counted: as met once.
    np.testing.assert_allclose(batch.expected, 4 * np.array([6, 2, 6, 1]) / 8)
    off, _ = embedded(candidate_id="item", candidate_counts={"a": 6, "b": 2}, logq=False)
    assert off.expected is None


def test_integer_ids():
    numbered = {**BATCH, "candidate": {**BATCH["candidate"], "item": np.array([7, 8, 7, 9])}}
    negatives = InBatchNegatives(candidate_id="item", candidate_counts={7: 1, 8: 3})
    batch = negatives.embed(as_towers(pair()), numbered, False)
    np.testing.assert_allclose(batch.expected, [1.0, 3.0, 1.0, 1.0])
    assert batch.hidden.numpy()[0, 2]


def test_the_streaming_estimate_learns_who_comes_often():
    negatives = InBatchNegatives(candidate_id="item")
    towers = as_towers(pair())
    rare = {**BATCH, "candidate": {**BATCH["candidate"], "item": ["a", "a", "a", "b"]}}
    for step in range(400):
        often = {**rare["candidate"], "item": ["a", "a", "a", "b" if step % 20 == 0 else "a"]}
        negatives.embed(towers, {**rare, "candidate": often}, True)
    expected = negatives.embed(towers, rare, False).expected.numpy()
    # "a" is in every batch; the estimate starts at a gap of 100 and has had 400 steps.
    assert expected[0] == pytest.approx(1 / (1 + 99 * 0.99**400), rel=1e-3)
    assert expected[3] < 0.03
    before = negatives.embed(towers, rare, False).expected.numpy()
    np.testing.assert_array_equal(before, expected)  # looking does not count


def test_the_models_loss_is_the_tasks():
    model = TwoTowerModel(
        pair(), task=RetrievalTask(), sampling=InBatchNegatives(candidate_id="item", logq=False)
    )
    scores = BATCH["query"]["q"] @ BATCH["candidate"]["c"].T
    hidden = np.zeros((4, 4), bool)
    hidden[0, 2] = hidden[2, 0] = True
    odds = np.where(hidden, 0.0, np.exp(scores))
    wanted = np.mean(np.log(odds.sum(axis=1)) - np.diag(scores))
    assert float(model.compute_loss(BATCH)) == pytest.approx(wanted, rel=1e-6)


def test_counts_without_an_id_are_refused():
    with pytest.raises(ValueError, match="candidate_id is None; counts need"):
        InBatchNegatives(candidate_counts={"a": 1})
    with pytest.raises(ValueError, match="candidate_counts has 0 entries"):
        InBatchNegatives(candidate_id="item", candidate_counts={})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "the batch has no 'none', which is to identify its records; found c, item"),
        ("c", r"'c' is float32 of shape \(4, 2\); an id is a string or an integer"),
    ],
)
def test_ids_that_are_none(name, message):
    with pytest.raises(ValueError, match=message):
        embedded(candidate_id=name)
