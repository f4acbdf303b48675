import dataclasses

import pytest

from tfrs_twotower.data.evaluation_queries import load_evaluation_queries
from tfrs_twotower.errors import CorruptArtifact


def test_queries_of_the_test_split(test_queries, corpus):
    queries = test_queries
    assert len(queries) == 60
    assert queries.query_ids.tolist() == sorted(queries.query_ids.tolist())
    assert (queries.raw["user_id"] == queries.query_ids).all()
    for row in range(len(queries)):
        assert len(queries.relevant[row]) == len(queries.gains[row]) == 1
        assert queries.gains[row].tolist() == [5.0]
        assert queries.num_events[row] == len(queries.seen[row]) == 9
        assert not set(queries.relevant[row]) & set(queries.seen[row])
        latest = queries.raw["history"][row, 0]
        assert corpus.row_of([latest])[0] in queries.seen[row]


def test_validation_sees_less_than_test(preprocessed, spec, corpus, test_queries):
    validation = load_evaluation_queries(preprocessed, "validation", spec, corpus)
    assert (validation.num_events < test_queries.num_events).all()
    assert (validation.timestamps < test_queries.timestamps).all()


def test_relevant_candidates_must_be_in_the_corpus(preprocessed, spec, corpus):
    half = dataclasses.replace(corpus, ids=corpus.ids[:5])
    with pytest.raises(CorruptArtifact, match=r"test split: the query 'user_.*not in the corpus"):
        load_evaluation_queries(preprocessed, "test", spec, half)
