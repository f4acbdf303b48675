import numpy as np
import pytest
import tensorflow as tf
from scipy import sparse

from tests.unit.specs.documents import spec_data
from tfrs_twotower.closed_form.ease import ease_factors
from tfrs_twotower.config import PlainTowerConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import embedding_dim_of, load_towers, save_towers
from tfrs_twotower.towers.wide import WidePart, WideShape, WideTowers

GOLDEN = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 0]], np.float32)
EASE = [[0, 0.5, 0.25], [0.5, 0, 0.25], [0.25, 0.25, 0]]
ITEMS = ["a", "b", "c"]
DIM = 4


@pytest.fixture
def spec():
    user = {"name": "user", "kind": "id"}
    seen = {"name": "seen", "kind": "history", "max_length": 4}
    item = {"name": "item", "kind": "id"}
    return FeatureSpec.model_validate(
        spec_data(query={"features": [user, seen]}, candidate={"features": [item]})
    )


@pytest.fixture
def assets(spec):
    return Assets({spec.candidate_id_feature.vocabulary_name: ITEMS, "user": ["u"]}, {})


def towers_of(spec, assets, weights, half_lives=(None,), counts=()):
    """Towers with EASE of the golden matrix at full rank; row 1 counts as -9 in each count."""
    factors = ease_factors(sparse.csr_matrix(GOLDEN), l2=1.0, rank=3)
    history, candidates = np.zeros((5, 3), np.float32), np.zeros((5, 3 + len(counts)), np.float32)
    history[2:], candidates[2:, :3] = factors.history, factors.candidates
    for place, column in enumerate(counts):
        candidates[:, 3 + place] = [0, -9, *column]
    part = WidePart(
        WideShape(half_lives, 3, len(counts)), history, candidates, np.array(weights, np.float32)
    )
    deep = build_towers(spec, PlainTowerConfig(embedding_dim=DIM), assets, seed=1)
    return WideTowers(deep, part, spec)


def scores(towers, histories, users=None, items=("a", "b", "c", "new")):
    padded = [[*history, *[""] * (4 - len(history))] for history in histories]
    raw = {"seen": tf.constant(padded), "user": tf.constant(users or ["?"] * len(histories))}
    return (
        towers.query(raw) @ tf.transpose(towers.candidate({"item": tf.constant(items)}))
    ).numpy()


def test_the_golden_weights_of_ease_come_out_of_the_vectors(spec, assets):
    towers = towers_of(spec, assets, [[0, 1], [0, 1]])
    found = scores(towers, [["a"], ["b"], ["c"], ["a", "b", "a"]])
    np.testing.assert_allclose(found[:3, :3], EASE, atol=1e-6)
    np.testing.assert_allclose(found[3, :3], [0.5, 0.5, 0.5], atol=1e-6)  # a repeat counts once
    np.testing.assert_allclose(found[:, 3], 0.0, atol=1e-6)  # nobody knows "new"


@pytest.mark.parametrize(
    ("dropout", "diagonal", "golden"),
    [
        (0.5, 0.0, {(0, 0): 0, (0, 1): 0.288136, (0, 2): 0.166667, (2, 0): 0.203390}),
        (0.5, 0.3, {(0, 0): 0.3, (0, 1): 0.201695, (0, 2): 0.116667, (2, 0): 0.142373}),
        (0.5, 0.1, {(0, 1): 0.259322, (2, 0): 0.183051}),
    ],
)
def test_full_rank_is_exact_for_rdlae(dropout, diagonal, golden):
    factors = ease_factors(
        sparse.csr_matrix(GOLDEN), l2=1.0, rank=3, dropout=dropout, diagonal=diagonal
    )
    weights = factors.history @ factors.candidates.T
    for pair, value in golden.items():
        assert weights[pair] == pytest.approx(value, abs=1e-6)


def test_all_parts_add_up_by_hand(spec, assets):
    """2 cosine + .5 (x B) + .25 (x decayed B) + .1 count, for b after a with half-life 1."""
    towers = towers_of(
        spec, assets, [[2, 0.5, 0.25, 0.1], [0, 0, 0, 0]], (None, 1.0), [[10, 20, 30]]
    )
    found = scores(towers, [["b", "a"]])[0]
    cosine = scores(towers.deep, [["b", "a"]])[0]
    linear = np.append(np.array([1, 1, 0]) @ EASE, 0)
    decayed = np.append(np.array([0.5, 1, 0]) @ EASE, 0)
    counts = np.array([10, 20, 30, -9])
    expected = 2 * cosine + 0.5 * linear + 0.25 * decayed + 0.1 * counts
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_queries_without_anything_known_have_weights_of_their_own(spec, assets):
    towers = towers_of(spec, assets, [[1, 0, 0], [0, 0, 1]], (None,), [[3, 2, 1]])
    found = scores(towers, [[], ["stranger"], [], ["stranger", "a"]], ["?", "", "u", "?"])
    np.testing.assert_allclose(found[:2], [[3, 2, 1, -9]] * 2, atol=1e-6)
    cosines = scores(towers.deep, [[], ["stranger"], [], ["stranger", "a"]], ["?", "", "u", "?"])
    np.testing.assert_allclose(found[2:], cosines[2:], atol=1e-6)


def test_they_are_read_back_as_they_were_written(spec, assets, tmp_path):
    towers = towers_of(spec, assets, [[1, 0.5, 0.2], [0.1, 0, 1]], (None,), [[3, 2, 1]])
    save_towers(towers, spec, PlainTowerConfig(embedding_dim=DIM), assets, tmp_path)
    loaded = load_towers(tmp_path)
    histories = [["a", "c"], [], ["b"]]
    np.testing.assert_array_equal(scores(loaded, histories), scores(towers, histories))
    assert loaded.embedding_dim == embedding_dim_of(tmp_path) == DIM + 3 + 1
    assert not loaded.query.unit_length
    assert not loaded.candidate.unit_length
