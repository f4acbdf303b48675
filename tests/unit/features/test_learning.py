import numpy as np
import pytest

from tests.fixtures.tiny_checkpoint import write_checkpoint
from tfrs_twotower.errors import DataError, FeatureSpecError
from tfrs_twotower.features.learning import learn_assets, quantile_boundaries
from tfrs_twotower.specs import (
    CategoricalFeature,
    HistoryFeature,
    IdFeature,
    MultiCategoricalFeature,
    NumericFeature,
    TextFeature,
    TimestampFeature,
    declare_features,
)

MOVIE = IdFeature(name="movie_id")


def learn(query, candidate, query_sample, candidate_sample, **settings):
    declared = declare_features(query, candidate)
    return learn_assets(declared, query=query_sample, candidate=candidate_sample, **settings)


def test_most_frequent_values_first_ties_by_value():
    query = [IdFeature(name="user_id"), CategoricalFeature(name="town", max_size=2)]
    assets = learn(
        query,
        [MOVIE, MultiCategoricalFeature(name="genres", max_values=2)],
        {
            "user_id": ["u2", "u1", "u2"],
            "town": np.array([b"Oslo", b"", b"Bergen"], object),
        },
        {"movie_id": ["m3", "m1"], "genres": [["Drama", "War"], ["War", ""]]},
    )
    assert assets.vocabularies == {
        "user_id": ["u2", "u1"],
        "town": ["Bergen", "Oslo"],
        "movie_id": ["m1", "m3"],
        "genres": ["War", "Drama"],
    }


def test_a_value_of_two_lines_is_refused():
    town = [CategoricalFeature(name="town")]
    with pytest.raises(DataError, match=r"vocabulary 'town': found 'New\\nYork'"):
        learn(town, [MOVIE], {"town": ["New\nYork"]}, {"movie_id": ["m"]})


def test_rare_values_are_unknown_hashed_ones_need_no_list_and_sides_add_up():
    shared = {"vocabulary": "topics", "min_count": 2}
    assets = learn(
        [CategoricalFeature(name="interest", **shared), IdFeature(name="user", hash_buckets=8)],
        [MOVIE, CategoricalFeature(name="topic", **shared)],
        {"interest": ["a", "b"], "user": ["u", "v"]},
        {"movie_id": ["m"], "topic": ["b"]},
    )
    assert assets.vocabularies == {"topics": ["b"], "movie_id": ["m"]}


def test_statistics_of_numbers():
    query = [
        NumericFeature(name="age"),
        NumericFeature(name="spend", transform="log"),
        NumericFeature(name="tenure", transform="bucketise", num_buckets=2),
        TimestampFeature(name="time"),
        HistoryFeature(name="watched"),
    ]
    numbers = {
        "age": [20.0, np.nan, 40.0],
        "spend": [0.0, np.e - 1.0, -5.0],
        "tenure": [3, 1, 2],
    }
    statistics = learn(query, [MOVIE], numbers, {"movie_id": ["m"]}).statistics["numeric"]
    assert statistics["query.age"] == {"mean": 30.0, "std": 10.0}
    assert statistics["query.spend"]["mean"] == pytest.approx(1 / 3)
    assert statistics["query.tenure"]["boundaries"] == [2.0]
    absent = learn([NumericFeature(name="age")], [MOVIE], {"age": [np.nan]}, {"movie_id": ["m"]})
    assert absent.statistics["numeric"]["query.age"] == {"mean": 0.0, "std": 0.0}
    assert quantile_boundaries([], 3) == [0.0, 0.0]


def test_word_pieces_are_learned_or_given(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nfilm\n")
    write_checkpoint(tmp_path / "bert")
    candidate = [
        TextFeature(name="title", vocabulary_size=64),
        TextFeature(name="plot", vocabulary_file="vocab.txt"),
        TextFeature(name="review", encoder="pretrained", checkpoint="bert", max_tokens=8),
    ]
    sample = {"title": ["Red river", "Red line", ""], "plot": ["x"], "review": ["x"]}
    assets = learn([IdFeature(name="user")], candidate, {"user": ["u"]}, sample, root=tmp_path)
    assert assets.vocabularies["plot"] == ["[PAD]", "[UNK]", "film"]
    assert assets.vocabularies["title"][:2] == ["[PAD]", "[UNK]"]
    assert {"red", "river"} <= set(assets.vocabularies["title"])
    assert "review" not in assets.vocabularies


def test_a_feature_that_the_sample_lacks():
    with pytest.raises(FeatureSpecError, match=r"the candidate sample lacks 'movie_id'; found a\."):
        learn([IdFeature(name="user")], [MOVIE], {"user": ["u"]}, {"a": ["m"]})
