import pytest

from tests.unit.preflight.checking import check, mistake

BAG = {"name": "text", "kind": "text", "vocabulary": "words"}
PRETRAINED = {"name": "text", "kind": "text", "encoder": "pretrained", "checkpoint": "bert"}


def sides(query=BAG, candidate=BAG):
    return {"query": {"features": [query]}, "candidate": {"features": [candidate]}}


def section(sharing, **model):
    return {"model": {"text_sharing": sharing, **model}}


@pytest.mark.parametrize("sharing", ["siamese", "asymmetric", "projection"])
def test_texts_of_one_vocabulary_or_checkpoint_can_be_shared_or_apart(sharing):
    check(sides(), **section(sharing))
    check(sides(PRETRAINED, PRETRAINED), **section(sharing, num_residual_layers=0))


@pytest.mark.parametrize("sharing", ["siamese", "asymmetric", "projection"])
def test_there_must_be_texts_on_both_sides(sharing):
    user = {"name": "user", "kind": "id"}
    assert mistake(sides(query=user), **section(sharing)) == (
        f"run 'toy': model.text_sharing is {sharing}, but the spec 'toy' has no text feature in "
        "query.features. Remove the key, or add text features to the spec."
    )


def test_siamese_texts_need_one_encoder_and_one_vocabulary():
    others = {**BAG, "vocabulary": "others"}
    assert mistake(sides(candidate=others), **section("siamese")) == (
        "run 'toy': model.text_sharing is siamese, but no text of the query has the encoder and "
        "the vocabulary (or the checkpoint) of a text of the candidate; found bag of words and "
        "bag of others. Give both the same, or set text_sharing: projection."
    )
    assert "found bag of words and transformer of words." in mistake(
        sides(candidate={**BAG, "encoder": "transformer"}), **section("siamese")
    )
    check(sides(candidate=others), **section("projection"))


def test_texts_that_are_apart_anyway():
    assert "share nothing in any case" in mistake(
        sides(candidate={**BAG, "vocabulary": "others"}), **section("asymmetric")
    )


def test_a_shared_projection_must_exist():
    assert mistake(sides(), **section("projection", num_residual_layers=0)) == (
        "run 'toy': model.text_sharing is projection, but there is none: "
        "model.num_residual_layers is 0, and no checkpoint whose vectors are projected is read by "
        "both sides. Give the towers a residual layer, or set text_sharing: asymmetric."
    )
    check(sides(), **section("projection", num_residual_layers=0, kind="colbert"))


def test_a_frozen_candidate_tower_is_not_also_the_query_tower():
    frozen = {"daily": {"freeze_candidate_tower": True}}
    assert mistake(sides(), **section("siamese"), **frozen) == (
        "run 'toy': model.text_sharing is siamese, and daily.freeze_candidate_tower is set: the "
        "encoder of the queries would be frozen with that of the candidates. Set one of them "
        "otherwise."
    )
    check(sides(), **section("projection"), **frozen)


def test_members_are_checked_too_and_dense_layers_cannot_be_shared():
    member = {"kind": "inttower", "body": "dense", "text_sharing": "siamese"}
    assert mistake(sides(), pre_ranking={"models": [member], "popularity_days": []}) == (
        "run 'toy': pre_ranking.models.0.text_sharing is siamese, but pre_ranking.models.0.body is "
        "dense, whose layers depend on the number of fields. Set pre_ranking.models.0.body: "
        "residual."
    )
