import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tests.contracts.searcher_contract import unit_vectors
from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index.top_k import ExactTopK, IvfTopK, ScannTopK

VECTORS = unit_vectors(30, 6, 0)
IDS = [f"c{row}" for row in range(30)]


EVERY_LEAF = IndexConfig(kind="ivf", k=4, num_leaves_to_search=1000)


@pytest.fixture(params=["exact", "scann", "ivf"])
def layer(request):
    if request.param == "scann":
        pytest.importorskip("scann")
    made = {
        "exact": ExactTopK(k=4),
        "scann": ScannTopK(k=4),
        "ivf": IvfTopK(k=4, config=EVERY_LEAF),
    }
    return made[request.param].index(tf.constant(VECTORS), tf.constant(IDS))


def test_finds_itself_first(layer):
    scores, ids = layer(tf.constant(VECTORS))
    assert ids.shape == (30, 4)
    assert ids.numpy()[:, 0].tolist() == [name.encode() for name in IDS]
    np.testing.assert_allclose(scores[:, 0], 1.0, rtol=1e-6)


def test_agrees_with_tfrs_brute_force(layer):
    queries = tf.constant(unit_vectors(8, 6, 1))
    theirs = tfrs.layers.factorized_top_k.BruteForce(k=4).index(
        tf.constant(VECTORS), tf.constant(IDS)
    )
    np.testing.assert_array_equal(layer(queries)[1], theirs(queries)[1])
    np.testing.assert_allclose(layer(queries)[0], theirs(queries)[0], atol=1e-6)


def test_exclusions_of_any_width(layer):
    queries = tf.constant(VECTORS[:2])
    for width in (1, 5, 28):
        excluded = tf.constant([IDS[:width]] * 2)
        ids = layer.query_with_exclusions(queries, excluded, k=2)[1].numpy()
        assert not {name.decode() for name in ids.ravel()} & set(IDS[:width])
        assert b"" not in ids


def test_k_beyond_the_corpus_gives_missing_ids_instead_of_an_error(layer):
    scores, ids = layer(tf.constant(VECTORS[:1]), k=40)
    assert ids.numpy()[0, 30:].tolist() == [b""] * 10
    assert np.isfinite(scores.numpy()).all()


def test_serves_tfrs_factorized_top_k(layer):
    metric = tfrs.metrics.FactorizedTopK(layer, ks=(1, 40))
    queries = tf.constant(VECTORS)
    metric.update_state(queries, queries, true_candidate_ids=tf.constant(IDS))
    assert [float(value) for value in metric.result()] == [1.0, 1.0]


def test_integer_ids_and_no_ids():
    numbered = ExactTopK(k=2).index(tf.constant(VECTORS), tf.range(100, 130))
    assert numbered(tf.constant(VECTORS[3:4]))[1].numpy()[0, 0] == 103
    plain = ExactTopK(k=31).index(tf.constant(VECTORS))
    rows = plain(tf.constant(VECTORS[3:4]))[1].numpy()[0]
    assert (rows[0], rows[30]) == (3, -1)


def test_a_query_model_runs_first():
    layer = ExactTopK(query_model=lambda x: -x, k=1).index(tf.constant(VECTORS), tf.constant(IDS))
    assert layer(tf.constant(-VECTORS[5:6]))[1].numpy().tolist() == [[b"c5"]]


def test_says_whether_it_is_exact_and_that_it_must_be_indexed_first():
    assert ExactTopK().is_exact()
    assert not ScannTopK().is_exact()
    assert not IvfTopK().is_exact()
    with pytest.raises(ValueError, match="`index` method must be called first"):
        ExactTopK()(tf.constant(VECTORS))


def test_ivf_looks_at_as_many_leaves_as_the_config_says():
    vectors = unit_vectors(2000, 8, 3)
    queries = tf.constant(unit_vectors(50, 8, 4))
    exact = ExactTopK(k=10).index(tf.constant(vectors))(queries)[1].numpy()

    def overlap(leaves):
        config = IndexConfig(kind="ivf", k=10, num_leaves=100, num_leaves_to_search=leaves)
        rows = IvfTopK(k=10, config=config).index(tf.constant(vectors))(queries)[1].numpy()
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, exact, strict=True)])

    few, tenth, every = overlap(1), overlap(None), overlap(10_000)
    assert few < tenth < every == 1.0
