import numpy as np
import pytest
import tensorflow as tf

from tests.unit.specs.documents import spec_data
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.linear_member import (
    LinearMember,
    history_inputs,
    load_linear_member,
    save_linear_member,
)
from tfrs_twotower.towers.tastes import Tastes, fit_tastes

ITEMS = ["a", "b", "c"]
COLOURS = np.array([[0], [1], [-1]])  # c has none
GENRES = np.array([[0, 1], [2, -1], [1, 1]])
CHOSEN = np.array([0, 0, 0, 1])


def fitted(scale=1.0, strength=2.0):
    tokens = [("colour", COLOURS, 2), ("genre", GENRES, 3)]
    return fit_tastes(tokens, CHOSEN, strength=strength, scale=scale)


def test_priors_and_values_by_hand():
    tastes, values = fitted()
    # Colours were chosen 3 and 1 times, genres 1.5, 1.5 and 1 times; one more of each.
    np.testing.assert_allclose(tastes.priors[0], [4 / 6, 2 / 6])
    np.testing.assert_allclose(tastes.priors[1], [2.5 / 7, 2.5 / 7, 2 / 7])
    np.testing.assert_allclose(values, [[1, 0, 0.5, 0.5, 0], [0, 1, 0, 0, 1], [0, 0, 0, 1, 0]])
    assert (tastes.features, tastes.num_values) == (("colour", "genre"), 5)


def member_of(scale, ease=None):
    tastes, values = fitted(scale)
    vectors = values if ease is None else np.concatenate([ease, values], axis=1)
    spec = FeatureSpec.model_validate(
        spec_data(
            query={"features": [{"name": "history", "kind": "history", "max_length": 4}]},
            candidate={"features": [{"name": "item", "kind": "id"}]},
        )
    )
    assets = Assets({spec.candidate_id_feature.vocabulary_name: ITEMS}, {})
    by_token = np.concatenate([np.zeros((2, vectors.shape[1]), np.float32), vectors])
    lives = () if ease is None else (None,)
    member = LinearMember(history_inputs(spec, assets), lives, by_token, vectors, tastes)
    return member, spec, assets


def score(member, history):
    tokens = {"history": np.array([history + [0] * (4 - len(history))], np.int32)}
    return member.scores(member.encode(tokens), tf.constant([[0, 1, 2]])).numpy()[0]


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_scores_by_hand(scale):
    """A history of a, twice, and c: one colour (c has none), one and a half of genre 1."""
    member, *_ = member_of(scale)
    colour, genre = score(member, [2, 4, 2])
    first, second = 4 / 6, 2 / 6
    red = np.log((1 + 2 * first) / ((1 + 2) * first))
    blue = np.log((0 + 2 * second) / ((1 + 2) * second))
    np.testing.assert_allclose(colour, [red, blue, 0.0], atol=1e-5)
    p = np.array([2.5, 2.5, 2.0]) / 7
    lift = np.log((np.array([0.5, 1.5, 0.0]) + 2 * p) / ((2 + 2) * p))
    np.testing.assert_allclose(genre, [(lift[0] + lift[1]) / 2, lift[2], lift[1]], atol=1e-5)


def test_an_empty_history_has_no_taste():
    member, *_ = member_of(1.0)
    assert not score(member, []).any()
    assert not score(member, [1, 1]).any()  # only candidates that nobody knows


def test_ease_beside_tastes_scores_as_alone():
    ease = np.array([[1, 2], [0, 1], [3, 0]], np.float32)
    both, *_ = member_of(0.5, ease)
    assert both.features == ("ease_all", "taste_colour", "taste_genre")
    scores = score(both, [2, 4])
    np.testing.assert_allclose(scores[0], (ease[0] + ease[2]) @ ease.T, rtol=1e-5)
    np.testing.assert_allclose(scores[1:], score(member_of(0.5)[0], [2, 4]), atol=1e-5)


def test_storage_and_other_candidates(tmp_path):
    member, spec, assets = member_of(0.25, np.ones((3, 2), np.float32))
    save_linear_member(member, spec, assets, tmp_path)
    loaded = load_linear_member(tmp_path)
    np.testing.assert_array_equal(score(loaded, [2, 3]), score(member, [2, 3]))
    assert loaded.tastes == member.tastes
    swapped = member.with_candidates(member.candidate_vectors.numpy()[[1, 0, 2]])
    np.testing.assert_array_equal(score(swapped, [2])[:, :2], score(member, [2])[:, [1, 0]])
    np.save(tmp_path / "candidate_vectors.npy", np.zeros((3, 4), np.float32))
    np.save(tmp_path / "history_vectors.npy", np.zeros((5, 4), np.float32))
    with pytest.raises(CorruptArtifact, match="names 5 values, and the vectors beside it have 4"):
        load_linear_member(tmp_path)


def test_more_events_weigh_more_against_the_prior():
    """Law: the lift of a value grows with its events, towards log(1 / p)."""
    prior = (0.5, 0.5)
    tastes = Tastes(("x",), (prior,), 5.0, 1.0)
    counts = tf.constant([[n, 0.0] for n in (1.0, 5.0, 50.0, 5000.0)])
    lifts = tastes.query_heads(counts).numpy()[:, 0, 0]
    assert (np.diff(lifts) > 0).all()
    assert lifts[-1] == pytest.approx(np.log(2.0), abs=1e-2)
