import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import TowerContract
from tests.fixtures.planted_inttower import both_facets
from tests.fixtures.tiny import tiny_run_config
from tests.reference import cold as reference
from tests.unit.towers.test_inttower import (
    DENSE,
    DROPOUT,
    TRANSFORMER,
    check_that_served_scores_are_those_of_the_joint_graph,
    encode,
    joint_objective,
)
from tfrs_twotower.towers.build import build_towers

COLD = {
    "kind": "cold",
    "embedding_dim": 16,
    "num_query_heads": 2,
    "num_candidate_heads": 3,
    "head_dim": 8,
    "cross_dims": [6, 4],
    "transformer": TRANSFORMER,
}


class TestColdTowers(TowerContract):
    model = {**COLD, **DROPOUT, "num_residual_layers": 2}

    def objective(self, towers, query, candidate):
        return joint_objective(towers, query, candidate)


def build(spec, assets, **model):
    return build_towers(spec, tiny_run_config(model={**COLD, **model}).model, assets, seed=5)


def test_scores_are_the_oracles(spec, assets, test_queries, corpus):
    towers = build(spec, assets, num_residual_layers=1)
    for variable in towers.scorer.variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    query = encode(towers.query, test_queries.inputs).heads.numpy()[:4]
    candidates = encode(towers.candidate, corpus.raw).heads.numpy()[:6]
    assert query.shape[1:] == (2 * 2, 8)
    assert candidates.shape[1:] == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(query, axis=2), 1.0, rtol=1e-5)
    named = {name: value.numpy() for name, value in towers.named_variables().items()}
    parts = (
        "linear", "query.kernel", "candidate.kernel", "products.kernel", "layer_0.bias",
        "layer_1.kernel", "layer_1.bias", "out.kernel",
    )  # fmt: skip
    weights = [named[f"scorer.network.{part}"] for part in parts]
    expected = [[reference.score(u, v, weights) for v in candidates] for u in query]
    scale, bias = np.exp(named["scorer.log_scale"]), named["scorer.bias"]
    every = np.broadcast_to(candidates, (4, *candidates.shape))
    for scores in (
        towers.scorer.all_pairs(tf.constant(query), tf.constant(candidates)),
        towers.scorer(tf.constant(query), tf.constant(every)),
    ):
        np.testing.assert_allclose(scores, scale * np.array(expected) + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("body", ["residual", "dense"])
def test_the_served_score_equals_that_of_the_joint_graph(
    spec, assets, test_queries, corpus, tmp_path, body
):
    towers = build(spec, assets, **DROPOUT, **(DENSE if body == "dense" else {}))
    check_that_served_scores_are_those_of_the_joint_graph(towers, corpus, test_queries, tmp_path)


def test_one_step_moves_every_weight():
    planted = both_facets(3)
    towers = build(planted.spec, planted.assets)
    with tf.GradientTape() as tape:
        loss = joint_objective(
            towers,
            encode(towers.query, planted.train),
            encode(towers.candidate, planted.candidates),
        )
    named = towers.named_variables()
    for name, gradient in tape.gradient(loss, named).items():
        assert gradient is not None, name
        assert np.any(tf.convert_to_tensor(gradient).numpy()), name
