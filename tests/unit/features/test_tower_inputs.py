"""Tokens are the same in four places: eager, tf.function, tf.data, a reloaded SavedModel."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.features.tower_inputs import TowerInputs
from tfrs_twotower.specs import MISSING_TIME
from tfrs_twotower.towers.build import build_towers

NAN = float("nan")


@pytest.fixture(scope="module")
def towers(spec, assets):
    return build_towers(spec, tiny_run_config().model, assets, seed=1)


@pytest.fixture(scope="module")
def query_inputs(towers) -> TowerInputs:
    return towers.query.inputs


def odd_queries():
    """A known row, a missing row, and a row of odd bytes."""
    return {
        "user_id": tf.constant([b"user_03", b"", b"\xff\xfe"]),
        "segment": tf.constant([b"segment_1", b"", b"SEGMENT_1"]),
        "interests": tf.constant([[b"jazz", b"punk", b""], [b""] * 3, [b"", b"\x80", b"jazz"]]),
        "age": tf.constant([30.0, NAN, float("inf")]),
        "spend": tf.constant([30.0, NAN, -5.0]),
        "tenure": tf.constant([500.0, NAN, -float("inf")]),
        "bio": tf.constant([b"Velvet lounge, calm.", b"", b"\xff calm\x00 \xc3"]),
        "history": tf.constant([[b"item_00", b"item_07"] + [b""] * 4, [b""] * 6, [b"nowhere"] * 6]),
        "event_time": tf.constant([1_600_000_000, MISSING_TIME, 2**40], tf.int64),
    }


def test_tokens_of_odd_values(query_inputs):
    tokens = {name: value.numpy() for name, value in query_inputs(odd_queries()).items()}
    assert (tokens["user_id"][1:] == [0, 1]).all()
    assert tokens["user_id"][0] >= 2
    assert (tokens["segment"][1:] == [0, 1]).all()
    assert tokens["interests"][1].tolist() == [0, 0, 0]
    assert tokens["interests"][2].tolist() == [0, 1, tokens["interests"][0, 0]]
    assert tokens["age"][1].tolist() == tokens["spend"][1].tolist() == [0.0, 1.0]
    assert np.isfinite(tokens["age"]).all()
    assert tokens["tenure"][1:].tolist() == [0, 1]
    assert tokens["bio"][1].tolist() == [0] * 6
    assert tokens["bio"][0, 2] != 0
    assert tokens["history"][2].tolist() == [1] * 6
    assert tokens["history"][0, 2:].tolist() == [0] * 4
    # 2020-09-13 12:26:40 UTC, a Sunday
    assert tokens["event_time"].tolist()[:2] == [[12 + 1, 7], [0, 0]]


def test_history_is_looked_up_like_candidates(towers, query_inputs):
    ids = tf.constant([b"item_00", b"item_07"])
    candidates = towers.candidate.inputs._lookups["item_id"](ids)
    history = query_inputs(odd_queries())["history"]
    assert history[0, :2].numpy().tolist() == candidates.numpy().tolist()


def test_tokens_are_dense_numbers_of_known_width(query_inputs):
    traced = tf.function(query_inputs).get_concrete_function(query_inputs.signature)
    signature = {n: (t.dtype, t.shape.as_list()) for n, t in traced.structured_outputs.items()}
    assert signature == {
        "user_id": (tf.int32, [None]),
        "segment": (tf.int32, [None]),
        "interests": (tf.int32, [None, 3]),
        "age": (tf.float32, [None, 2]),
        "spend": (tf.float32, [None, 2]),
        "tenure": (tf.int32, [None]),
        "bio": (tf.int32, [None, 6]),
        "history": (tf.int32, [None, 6]),
        "event_time": (tf.int32, [None, 2]),
    }


@pytest.mark.parametrize("side", ["query", "candidate"])
def test_same_tokens_in_four_places(towers, corpus, side, tmp_path):
    inputs = getattr(towers, side).inputs
    raw = odd_queries() if side == "query" else {n: v[:7] for n, v in corpus.raw.items()}
    eager = inputs(raw)
    traced = tf.function(inputs)(raw)
    streamed = next(iter(tf.data.Dataset.from_tensors(raw).map(inputs)))
    module = tf.Module()
    module.inputs = inputs
    module.tokens = tf.function(inputs, input_signature=[inputs.signature])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path)).tokens(
        {name: tf.convert_to_tensor(value) for name, value in raw.items()}
    )
    for name, expected in eager.items():
        for other in (traced, streamed, loaded):
            np.testing.assert_array_equal(other[name], expected, err_msg=name)


def test_wider_inputs_are_cut(query_inputs):
    raw = odd_queries()
    wide = raw | {"history": tf.concat([raw["history"], [[b"item_01"]] * 3], axis=1)}
    np.testing.assert_array_equal(query_inputs(wide)["history"], query_inputs(raw)["history"])


def test_missing_feature(query_inputs):
    raw = odd_queries()
    del raw["age"]
    with pytest.raises(FeatureSpecError, match="query_inputs: the batch lacks age; found bio"):
        query_inputs(raw)
