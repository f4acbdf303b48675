import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import TowerContract, tensors
from tests.fixtures.tiny import tiny_run_config
from tests.reference import colbert as reference
from tests.unit.towers.test_inttower import TRANSFORMER, encode, joint_objective
from tfrs_twotower.layers.text_encoders import TextField
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import embedding_dim_of, load_towers, save_towers

COLBERT = {
    "kind": "colbert",
    "embedding_dim": 16,
    "head_dim": 8,
    "max_query_tokens": 6,
    "max_candidate_tokens": 9,
    "transformer": TRANSFORMER,
}


class TestColbert(TowerContract):
    model = {**COLBERT, "token_dropout": 0.2, "dropout": 0.1}

    def objective(self, towers, query, candidate):
        return joint_objective(towers, query, candidate)


@pytest.fixture
def towers(spec, assets):
    return build_towers(spec, tiny_run_config(model=COLBERT).model, assets, seed=5)


def text_tokens(tower, raw, row, most):
    """Mapped vectors and weights of the first tokens of a row's texts."""
    tokens = tower.inputs(tensors(raw))
    (kernel,) = [v.numpy() for v in tower.variables if ".tokens." in v.name]
    vectors, weights = [], []
    for feature, field in zip(tower.inputs.features, tower.fields, strict=True):
        if not isinstance(field, TextField):
            continue
        own = tokens[feature.name][row : row + 1]
        of_text = field.token_vectors(own, None)
        for place in np.flatnonzero(own[0].numpy()):
            vectors.append(of_text.vectors[0, place].numpy() @ kernel)
            weights.append(float(of_text.weights[0, place]))
    return vectors[:most], weights[:most]


def test_scores_are_the_oracles(towers, test_queries, corpus):
    query = encode(towers.query, test_queries.inputs).heads[:5]
    candidates = encode(towers.candidate, corpus.raw).heads[:6]
    assert query.shape[1] <= 6
    assert candidates.shape[1:] == (9, 8)
    expected = [
        [
            reference.score(
                text_tokens(towers.query, test_queries.inputs, i, 6)[0],
                text_tokens(towers.candidate, corpus.raw, j, 9)[0],
                text_tokens(towers.query, test_queries.inputs, i, 6)[1],
            )
            for j in range(6)
        ]
        for i in range(5)
    ]
    np.testing.assert_allclose(towers.scorer.all_pairs(query, candidates), expected, atol=1e-5)
    every = tf.repeat(candidates[tf.newaxis], 5, axis=0)
    np.testing.assert_allclose(towers.scorer(query, every), expected, atol=1e-5)


MUVERA = {**COLBERT, "muvera": {"repetitions": 3, "bits": 2}}


def test_encodings_estimate_the_score_and_are_saved(spec, assets, test_queries, corpus, tmp_path):
    model = tiny_run_config(model=MUVERA).model
    towers = build_towers(spec, model, assets, seed=5)
    save_towers(towers, spec, model, assets, tmp_path)
    loaded = load_towers(tmp_path)
    assert towers.embedding_dim == embedding_dim_of(tmp_path) == 3 * 4 * 8 + 1
    assert not loaded.query.unit_length
    query, candidate = (
        encode(loaded.query, test_queries.inputs),
        encode(loaded.candidate, corpus.raw),
    )
    assert query.embedding.shape[1] == candidate.embedding.shape[1] == 3 * 4 * 8 + 1
    before = encode(towers.candidate, corpus.raw).embedding
    np.testing.assert_array_equal(candidate.embedding, before)
    exact = loaded.scorer.of_all_pairs(query.heads, candidate.heads).numpy()
    estimates = tf.matmul(query.embedding, candidate.embedding, transpose_b=True).numpy()
    assert np.corrcoef(exact.ravel(), estimates.ravel())[0, 1] > 0.8
    assert "muvera.planes" in loaded.named_variables()
    assert all(variable.name != "muvera.planes:0" for variable in loaded.trainable_variables)
