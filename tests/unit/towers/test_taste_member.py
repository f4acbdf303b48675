import numpy as np
import pytest
import tensorflow as tf

from tests.unit.specs.documents import spec_data
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.linear_member import history_inputs
from tfrs_twotower.towers.taste_member import (
    TasteMember,
    copy_taste_member,
    load_taste_member,
    save_taste_member,
)

ITEMS = ["a", "b", "c"]
VALUES = np.array([[1, 3, 4], [2, 0, 5], [0, 4, 0]], np.int32)
"""Of a, b, c: a colour (c has none), and one genre or two."""
COLOURS, GENRES = np.array([4, 2]) / 6, np.array([2.5, 2.5, 2.0]) / 7
SPEC = FeatureSpec.model_validate(
    spec_data(
        query={"features": [{"name": "history", "kind": "history", "max_length": 4}]},
        candidate={"features": [{"name": "item", "kind": "id"}]},
    )
)
ASSETS = Assets({SPEC.candidate_id_feature.vocabulary_name: ITEMS}, {})


def member_of(strength=2.0, priors=(COLOURS, GENRES)):
    return TasteMember(
        history_inputs(SPEC, ASSETS),
        ("colour", "genre"),
        strength,
        np.concatenate([np.zeros((2, 3), np.int32), VALUES]),
        np.array([0, 1, 1]),
        np.concatenate([[1.0], *priors]).astype(np.float32),
        VALUES,
    )


def score(member, history):
    tokens = {"history": np.array([history + [0] * (4 - len(history))], np.int32)}
    return member.scores(member.encode(tokens), tf.constant([[0, 1, 2]])).numpy()[0]


def test_scores_by_hand():
    """A history of a, twice, and c: one colour (c has none), one and a half of the second genre."""
    colour, genre = score(member_of(), [2, 4, 2])
    red = np.log((1 + 2 * COLOURS[0]) / ((1 + 2) * COLOURS[0]))
    blue = np.log((0 + 2 * COLOURS[1]) / ((1 + 2) * COLOURS[1]))
    np.testing.assert_allclose(colour, [red, blue, 0.0], atol=1e-5)
    lift = np.log((np.array([0.5, 1.5, 0.0]) + 2 * GENRES) / ((2 + 2) * GENRES))
    np.testing.assert_allclose(genre, [(lift[0] + lift[1]) / 2, lift[2], lift[1]], atol=1e-5)


def test_an_empty_history_has_no_taste():
    assert not score(member_of(), []).any()
    assert not score(member_of(), [1, 1]).any()  # only candidates that nobody knows


def test_the_weighted_sum_is_that_of_the_scores_of_each_query():
    member, rows = member_of(), tf.constant([[2, 0], [1, 1]])
    raw = {"history": tf.constant([["a", "b", "", ""], ["c", "?", "a", "c"]])}
    heads, weights = member.query_heads(raw), tf.constant([0.7, -1.3])
    scores = member.scores(heads, rows).numpy()
    weighted = member.weighted(heads, rows, weights)
    np.testing.assert_allclose(weighted, 0.7 * scores[:, 0] - 1.3 * scores[:, 1], atol=1e-6)
    np.testing.assert_allclose(scores[1], score(member, [2, 4])[:, [1, 1]], atol=1e-6)


def test_more_events_weigh_more_against_the_prior():
    """Law: the lift of a value falls with its strength's prior, from log(1 / p) down to 0."""
    lifts = [score(member_of(strength), [2])[0, 0] for strength in (1e-4, 1.0, 5.0, 1e4)]
    assert (np.diff(lifts) < 0).all()
    assert lifts[0] == pytest.approx(np.log(1 / COLOURS[0]), abs=1e-3)
    assert lifts[-1] == pytest.approx(0.0, abs=1e-3)


def test_a_candidate_that_nobody_knows_has_no_taste():
    """A refresh gives zeros to candidates that training has not seen."""
    swapped = member_of().with_candidates(np.array([VALUES[1], [0, 0, 0], VALUES[2]], np.int32))
    before, after = score(member_of(), [2, 3]), score(swapped, [2, 3])
    np.testing.assert_array_equal(after[:, [0, 2]], before[:, [1, 2]])
    assert not after[:, 1].any()


def test_it_is_read_back_as_it_was_written(tmp_path):
    member = member_of()
    (tmp_path / "saved").mkdir()
    save_taste_member(member, SPEC, ASSETS, tmp_path / "saved")
    loaded = load_taste_member(tmp_path / "saved")
    assert loaded.features == ("taste_colour", "taste_genre")
    np.testing.assert_array_equal(score(loaded, [2, 3]), score(member, [2, 3]))
    swapped = member.with_candidates(VALUES[[1, 0, 2]])
    copy_taste_member(swapped, tmp_path / "saved", tmp_path / "copied")
    copied = score(load_taste_member(tmp_path / "copied"), [2])
    np.testing.assert_array_equal(copied[:, :2], score(member, [2])[:, [1, 0]])


def test_parts_that_do_not_fit_are_refused(tmp_path):
    save_taste_member(member_of(), SPEC, ASSETS, tmp_path)
    np.save(tmp_path / "candidate_values.npy", np.full((3, 3), 6, np.int32))
    with pytest.raises(CorruptArtifact, match=r"6 values .* 5 are known"):
        load_taste_member(tmp_path)
    np.save(tmp_path / "candidate_values.npy", np.zeros((3, 2), np.int32))
    with pytest.raises(CorruptArtifact, match=r"are of shape \(5, 3\) and \(3, 2\)"):
        load_taste_member(tmp_path)
    (tmp_path / "candidate_values.npy").unlink()
    with pytest.raises(MissingArtifact, match=r"candidate_values.npy: is missing"):
        load_taste_member(tmp_path)
