import pytest
from pydantic import ValidationError

from tfrs_twotower.specs import (
    CategoricalFeature,
    HistoryFeature,
    IdFeature,
    TowerFeatures,
    declare_features,
)

USER, MOVIE = IdFeature(name="user_id"), IdFeature(name="movie_id")


def test_the_class_says_the_kind_and_a_document_must():
    assert (USER.kind, HistoryFeature(name="watched").kind) == ("id", "history")
    with pytest.raises(ValidationError, match="Unable to extract tag using discriminator 'kind'"):
        TowerFeatures.model_validate(
            {"query": {"features": [{"name": "user_id"}]}, "candidate": {"features": [MOVIE]}}
        )


def test_the_only_id_of_the_candidate_is_its_identity():
    declared = declare_features([USER, HistoryFeature(name="watched")], [MOVIE])
    assert declared.candidate_id_feature == MOVIE
    assert [history.name for history in declared.histories] == ["watched"]


def test_of_several_ids_one_is_named():
    maker = IdFeature(name="maker_id")
    assert declare_features([USER], [MOVIE, maker]).candidate_id_feature is None
    named = declare_features([USER], [MOVIE, maker], candidate_id="maker_id")
    assert named.candidate_id_feature == maker
    with pytest.raises(ValueError, match=r"'title', which is not an id.*: movie_id, maker_id"):
        declare_features([USER], [MOVIE, maker], candidate_id="title")


@pytest.mark.parametrize(
    ("query", "candidate", "message"),
    [
        ([USER, USER], [MOVIE], r"query\.features: 'user_id' is declared 2 times"),
        ([IdFeature(name="allow")], [MOVIE], "'allow' is a reserved input name"),
        ([USER], [MOVIE, HistoryFeature(name="seen")], "a history belongs to the query side"),
        (
            [HistoryFeature(name="seen")],
            [CategoricalFeature(name="genre")],
            "a history is looked up in the candidate's id table",
        ),
        (
            [CategoricalFeature(name="a", vocabulary="v", min_count=2)],
            [CategoricalFeature(name="b", vocabulary="v")],
            "vocabulary 'v' is used by features with different settings",
        ),
        ([], [MOVIE], "at least 1 item"),
    ],
)
def test_features_must_fit_together(query, candidate, message):
    with pytest.raises(ValueError, match=message):
        declare_features(query, candidate)
