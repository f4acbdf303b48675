import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import TowerContract, tensors
from tests.fixtures.tiny import tiny_run_config
from tests.reference import plain_tower as reference
from tfrs_twotower.towers.build import build_towers

TRANSFORMER = {"num_layers": 1, "num_heads": 2, "feed_forward_dim": 16}
DROPOUT = {"id_dropout": 0.2, "history_dropout": 0.3, "token_dropout": 0.2, "dropout": 0.1}


class TestPlainTower(TowerContract):
    model = {"embedding_dim": 16, "transformer": TRANSFORMER, **DROPOUT}


class TestPlainTowerOfSumsOnly(TowerContract):
    model = {
        "embedding_dim": 8,
        "num_residual_layers": 0,
        "history_half_life": 3.0,
        "transformer": TRANSFORMER,
    }


@pytest.mark.parametrize("num_layers", [0, 2])
def test_matches_reference(spec, assets, test_queries, num_layers):
    model = {"embedding_dim": 8, "num_residual_layers": num_layers, "transformer": TRANSFORMER}
    towers = build_towers(spec, tiny_run_config(model=model).model, assets, seed=5)
    weights = {name: v.numpy() for name, v in towers.named_variables().items()}
    raw = tensors(test_queries.inputs)
    fields = towers.query.encode_fields(towers.query.inputs(raw)).numpy()
    layers = [
        (weights[f"query.residual_{i}.kernel"], weights[f"query.residual_{i}.bias"])
        for i in range(num_layers)
    ]
    expected = reference.embed(fields, weights["query.bias"], layers)
    np.testing.assert_allclose(towers.query(raw), expected, rtol=1e-4, atol=1e-6)


def test_dropout_acts_in_training(spec, assets, test_queries):
    for rate in DROPOUT:
        model = {"embedding_dim": 8, "transformer": TRANSFORMER, rate: 0.5}
        towers = build_towers(spec, tiny_run_config(model=model).model, assets, seed=5)
        raw = tensors(test_queries.inputs)
        difference = tf.abs(towers.query(raw, training=True) - towers.query(raw))
        assert tf.reduce_max(difference) > 1e-4, rate


def test_id_dropout_reaches_the_unknown_row(spec, assets, test_queries):
    model = {"embedding_dim": 8, "transformer": TRANSFORMER, "id_dropout": 0.5}
    towers = build_towers(spec, tiny_run_config(model=model).model, assets, seed=5)
    table = towers.named_variables()["tables.user_id"]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(towers.query(tensors(test_queries.inputs), training=True)[:, 0])
    assert 1 in tape.gradient(loss, table).indices.numpy()
