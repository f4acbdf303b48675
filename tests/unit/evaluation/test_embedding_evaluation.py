import numpy as np
import pytest

from tfrs_twotower.evaluation import corpus_ranking
from tfrs_twotower.evaluation.embedding_evaluation import evaluate

CANDIDATES = [[1.0, 0.0], [0.8, 0.0], [0.6, 0.0], [0.0, 1.0]]
QUERY = [1.0, 0.0]


def test_worked_by_hand():
    # The ranking is rows 0, 1, 2, 3; relevant at ranks 2 and 4.
    found = evaluate([QUERY], CANDIDATES, [[1, 3]], ks=(1, 3))
    assert {name: estimate.mean for name, estimate in found.items()} == pytest.approx(
        {
            **{"recall@1": 0, "hit_rate@1": 0, "precision@1": 0, "ndcg@1": 0, "mrr@1": 0},
            **{"map@1": 0, "recall@3": 1 / 2, "hit_rate@3": 1, "precision@3": 1 / 3},
            "ndcg@3": (1 / np.log2(3)) / (1 + 1 / np.log2(3)),
            **{"mrr@3": 1 / 2, "map@3": 1 / 2 * 1 / 2},
        }
    )


def test_seen_candidates_are_left_out_and_ties_go_to_the_lower_row():
    seen = evaluate([QUERY], CANDIDATES, [[1]], seen=[[0]], ks=(1,))
    assert seen["recall@1"].mean == 1.0
    tied = evaluate([QUERY], [[1.0, 0.0]] * 3, [[0]], ks=(1,))
    assert tied["recall@1"].mean == 1.0


def test_queries_without_a_relevant_candidate_are_left_out():
    found = evaluate([QUERY, QUERY, QUERY], CANDIDATES, [[0], [], [3]], ks=(1,))["recall@1"]
    assert (found.mean, found.queries) == (0.5, 2)
    assert found.ci95 == (0.0, 1.0)


def test_lists_may_be_longer_than_the_corpus_and_chunks_change_nothing(monkeypatch):
    random = np.random.default_rng(5)
    queries, candidates = random.normal(size=(30, 4)), random.normal(size=(12, 4))
    relevant = [random.choice(12, 3, replace=False) for _ in range(30)]
    whole = evaluate(queries, candidates, relevant, ks=(5, 20))
    monkeypatch.setattr(corpus_ranking, "CHUNK_BYTES", 4 * 40)
    assert evaluate(queries, candidates, relevant, ks=(5, 20)) == whole
    assert whole["recall@20"].mean == 1.0
    low, high = whole["recall@5"].ci95
    assert low < whole["recall@5"].mean < high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([QUERY], [[1.0]], [[0]]), "query_embeddings has 2 columns and candidate_embeddings 1"),
        (([QUERY], CANDIDATES, []), "relevant has 0 lists for 1 queries"),
        (([QUERY], CANDIDATES, [[4]]), "relevant holds row 4; rows of 4 candidates are 0 to 3"),
        (([QUERY], CANDIDATES, [[]]), "relevant is empty for every query"),
        (([QUERY], CANDIDATES, [[1, 1]]), "a relevant row occurs twice"),
        (([[np.nan, 1.0]], CANDIDATES, [[1]]), "query_embeddings is not finite in row 0"),
        (([], CANDIDATES, []), "query_embeddings has shape"),
    ],
)
def test_what_does_not_fit_together(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(*arguments)
