import numpy as np

from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.fields import inverse_document_frequency, start_token_weights_at_idf


def test_inverse_document_frequency_by_hand():
    title = np.array([[2, 0], [2, 2], [3, 0]], np.int32)
    body = np.array([[3, 2], [0, 0], [0, 0]], np.int32)
    weights = inverse_document_frequency([title, body], 5)
    np.testing.assert_allclose(weights[2], np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), rtol=1e-6)
    np.testing.assert_allclose(weights[3], np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), rtol=1e-6)
    np.testing.assert_allclose(weights[4], np.log(1 + (3 - 0 + 0.5) / (0 + 0.5)), rtol=1e-6)


def test_common_tokens_keep_a_positive_weight():
    everywhere = np.full((100_000, 1), 1, np.int32)
    assert inverse_document_frequency([everywhere], 2)[1] >= 1e-3


def test_bags_of_both_towers_start_at_these_weights(spec, assets, corpus):
    towers = build_towers(spec, tiny_run_config().model, assets, seed=1)
    tokens = {name: value.numpy() for name, value in towers.candidate.inputs(corpus.raw).items()}
    start_token_weights_at_idf(towers, tokens)
    weights = towers.named_variables()
    bio, title = (
        weights["query.fields.bio.log_weight"],
        weights["candidate.fields.title.log_weight"],
    )
    np.testing.assert_array_equal(bio, title)
    expected = inverse_document_frequency([tokens["title"], tokens["description"]], bio.shape[0])
    np.testing.assert_allclose(bio, np.log(expected), rtol=1e-6)
