import dataclasses

import numpy as np
import pytest

from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import load_query_set
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import CorruptArtifact, DataError
from tfrs_twotower.ranking import GroundTruth, Ragged


def test_queries_of_the_test_split(test_queries, corpus):
    queries = test_queries
    assert len(queries) == 60
    assert queries.ids.tolist() == sorted(queries.ids.tolist())
    assert [name.decode() for name in queries.inputs["user_id"]] == queries.ids.tolist()
    for row in range(len(queries)):
        assert len(queries.truth.relevant[row]) == 1
        assert queries.truth.gains[row] == 5.0
        assert queries.num_events[row] == len(queries.seen[row]) == 9
        assert not set(queries.truth.relevant[row]) & set(queries.seen[row])
        latest = queries.inputs["history"][row, 0]
        assert corpus.row_of([latest])[0] in queries.seen[row]


def test_validation_sees_less_than_test(preprocessed, spec, corpus, test_queries):
    validation = load_query_set(preprocessed, "validation", spec, corpus)
    assert (validation.num_events < test_queries.num_events).all()
    assert (validation.timestamps < test_queries.timestamps).all()


def test_relevant_candidates_must_be_in_the_corpus(preprocessed, spec, corpus):
    half = dataclasses.replace(corpus, ids=corpus.ids[:5])
    with pytest.raises(CorruptArtifact, match=r"test split: the query 'user_.*not in the corpus"):
        load_query_set(preprocessed, "test", spec, half)


def test_a_sample_is_fixed_and_keeps_truth_and_seen_rows_of_each_query():
    queries = QuerySet(
        GroundTruth.from_lists(
            [[i, i + 1] for i in range(20)], [[1.0 + i, 2.0] for i in range(20)]
        ),
        Ragged.from_lists([[i + 2] * (i % 2) for i in range(20)]),
        {"vector": np.arange(20, dtype=np.float32)[:, None]},
    )
    sample = queries.sample(5, seed=3)
    again = queries.sample(5, seed=3)
    np.testing.assert_array_equal(sample.inputs["vector"], again.inputs["vector"])
    assert len(sample) == 5
    for position, query in enumerate(sample.inputs["vector"][:, 0].astype(int)):
        np.testing.assert_array_equal(sample.truth.relevant[position], [query, query + 1])
        np.testing.assert_array_equal(sample.seen[position], [query + 2] * (query % 2))
        assert sample.truth.gains[2 * position] == 1.0 + query
    assert queries.sample(20, seed=3) is queries


LETTERS = Corpus.of(["a", "b", "c"], np.eye(3))


def judged():
    return QuerySet.of(
        LETTERS, {"x": np.arange(3)}, [["a", "b"], ["c"], ["b"]], [["z", "c"], ["z"], ["a"]]
    )


def test_judgements_by_id_become_rows_and_unknown_seen_ids_are_ignored():
    queries = judged()
    assert [queries.truth.relevant[q].tolist() for q in range(3)] == [[0, 1], [2], [1]]
    assert [queries.seen[q].tolist() for q in range(3)] == [[2], [], [0]]
    assert queries.truth.gains.tolist() == [1.0, 1.0, 1.0, 1.0]
    assert QuerySet.of(LETTERS, {}, [["a"]]).seen[0].tolist() == []


@pytest.mark.parametrize("relevant", [["z"], ["a", "z"], []])
def test_a_judged_query_needs_known_relevant_candidates(relevant):
    with pytest.raises(DataError, match=r"query 2 has .* candidates, .* not in the corpus"):
        QuerySet.of(LETTERS, {}, [["a"], relevant])


def test_a_part_of_the_corpus_has_rows_of_its_own_and_keeps_no_empty_query():
    part = dataclasses.replace(judged(), rankable=np.array([True, False, True]))
    part = part.among(np.array([0, 2]), 3)
    assert part.inputs["x"].tolist() == [0, 1]
    assert [part.truth.relevant[q].tolist() for q in range(2)] == [[0], [1]]
    assert [part.seen[q].tolist() for q in range(2)] == [[1], []]
    assert part.rankable.tolist() == [True, True]


def test_some_of_the_queries_keep_all_that_belongs_to_them():
    queries = QuerySet(
        GroundTruth.from_lists([[0], [1], [2]], [[1.0], [2.0], [3.0]]),
        Ragged.from_lists([[1], [], [0, 1]]),
        {"x": np.arange(3)},
        np.array(["p", "q", "r"], object),
        "test",
        np.array([4, 5, 6]),
        np.array([7, 8, 9]),
        np.eye(3, dtype=np.float32),
        ["t", "u", "v"],
    )
    some = queries.take(np.array([2, 0]))
    assert some.truth.gains.tolist() == [3.0, 1.0]
    assert [some.seen[q].tolist() for q in range(2)] == [[0, 1], [1]]
    assert (some.inputs["x"].tolist(), some.ids.tolist()) == ([2, 0], ["r", "p"])
    assert (some.num_events.tolist(), some.timestamps.tolist()) == ([6, 4], [9, 7])
    assert (some.embeddings.argmax(axis=1).tolist(), some.texts) == ([2, 0], ["v", "t"])
    assert some.split == "test"
    assert queries.spread(2).ids.tolist() == ["p", "r"]
    assert len(queries.spread(9)) == 3
