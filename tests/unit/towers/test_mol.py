import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import TowerContract
from tests.fixtures.planted_inttower import both_facets
from tests.fixtures.tiny import tiny_run_config
from tests.reference import mol as reference
from tests.unit.towers.test_inttower import (
    DENSE,
    DROPOUT,
    TRANSFORMER,
    check_that_served_scores_are_those_of_the_joint_graph,
    encode,
    joint_objective,
)
from tfrs_twotower.towers.build import build_towers

MOL = {
    "kind": "mol",
    "embedding_dim": 16,
    "num_query_heads": 2,
    "num_candidate_heads": 3,
    "head_dim": 8,
    "gate_dim": 5,
    "transformer": TRANSFORMER,
}


class MolContract(TowerContract):
    def objective(self, towers, query, candidate):
        return joint_objective(towers, query, candidate)


class TestResidualBody(MolContract):
    model = {**MOL, **DROPOUT, "num_residual_layers": 2}


class TestDenseBody(MolContract):
    model = {**MOL, **DENSE, "interaction_layers": "last"}


def build(spec, assets, **model):
    return build_towers(spec, tiny_run_config(model={**MOL, **model}).model, assets, seed=5)


def test_scores_are_the_oracles(spec, assets, test_queries, corpus):
    towers = build(spec, assets, num_residual_layers=1)
    for variable in towers.variables:
        if "mixture" in variable.name:
            variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    query = encode(towers.query, test_queries.inputs).heads.numpy()[:4]
    candidates = encode(towers.candidate, corpus.raw).heads.numpy()[:6]
    # 2 layers x 2 query heads, 3 candidate heads: 12 gates in two rows of eight.
    assert query.shape[1:] == (4 + 2, 8)
    assert candidates.shape[1:] == (3 + 2, 8)
    np.testing.assert_allclose(np.linalg.norm(query[:, :4], axis=2), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(candidates[:, :3], axis=2), 1.0, rtol=1e-5)
    named = {name: value.numpy() for name, value in towers.named_variables().items()}
    parts = ("hidden.kernel", "hidden.bias", "out.kernel", "out.bias")
    weights = [named[f"scorer.mixture.{part}"] for part in parts]
    expected = [
        [
            reference.mixture(u[:4], u[4:].reshape(-1)[:12], v[:3], v[3:].reshape(-1)[:12], weights)
            for v in candidates
        ]
        for u in query
    ]
    actual = towers.scorer.all_pairs(tf.constant(query), tf.constant(candidates))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


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
