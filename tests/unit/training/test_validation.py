import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.ranking import GroundTruth
from tfrs_twotower.ranking.order import top_k_rows
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.towers.tower import Tower, TowerOutput, Towers
from tfrs_twotower.training import validation
from tfrs_twotower.training.validation import Validator, rank


class VectorTower(Tower):
    """Embeds a token as the vector that it is."""

    def encode(self, tokens, training=False):
        assert not training
        return TowerOutput(tokens["vector"])


def validator_of(queries, corpus, relevant, seen=None, rankable=None, metrics=("recall@2",)):
    validation_queries = QuerySet(
        GroundTruth.from_lists(relevant),
        Ragged.from_lists(seen or [[] for _ in queries]),
        {"vector": np.asarray(queries, np.float32)},
        rankable=rankable,
    )
    tokens = {"vector": tf.constant(corpus, tf.float32)}
    return Validator(Towers(VectorTower(), VectorTower()), tokens, validation_queries, metrics)


def test_recall_with_seen_candidates_by_hand():
    corpus = [[4.0], [3.0], [2.0], [1.0]]
    plain = validator_of([[1.0], [1.0]], corpus, [[1], [2, 3]]).measure()
    assert plain["recall@2"] == (1 / 1 + 0 / 2) / 2
    seen = validator_of([[1.0], [1.0]], corpus, [[1], [2, 3]], seen=[[], [0, 1]]).measure()
    assert seen["recall@2"] == (1 / 1 + 2 / 2) / 2


def test_recall_by_length_by_hand():
    validator = validator_of([[1.0], [1.0]], [[4.0], [3.0], [2.0], [1.0]], [[1], [0, 3]])
    # Ranks 2, and 1 and 4.
    expected = [(0 + 1 / 2) / 2, (1 + 1 / 2) / 2, (1 + 1 / 2) / 2, (1 + 2 / 2) / 2]
    assert validator.recall_by_length(9) == expected
    assert validator.recall_by_length(2) == expected[:2]
    assert validator.num_queries == 2


def test_candidates_that_are_not_rankable_are_left_out():
    rankable = np.array([False, True, True, True])
    values = validator_of([[1.0]], [[4.0], [3.0], [2.0], [1.0]], [[2]], rankable=rankable)
    assert values.measure()["recall@2"] == 1.0


def test_ties_go_to_the_lower_row():
    values = validator_of([[1.0]] * 4, [[1.0]] * 4, [[0], [1], [2], [3]])
    assert values.measure()["recall@2"] == 2 / 4


def test_a_corpus_smaller_than_k():
    values = validator_of([[1.0]], [[1.0], [0.5]], [[1]], metrics=("recall@10", "mrr@5"))
    assert values.measure()["recall@10"] == 1.0
    assert values.measure()["mrr@5"] == 1 / 2


@pytest.mark.parametrize("seed", range(3))
def test_rank_equals_the_exact_ranking_in_numpy(seed, monkeypatch):
    monkeypatch.setattr(validation, "_CHUNK", 7)
    random = np.random.default_rng(seed)
    # Small whole numbers: many ties.
    queries = random.integers(-2, 3, (30, 3)).astype(np.float32)
    corpus = random.integers(-2, 3, (40, 3)).astype(np.float32)
    seen = [random.choice(40, random.integers(0, 9), replace=False) for _ in range(30)]
    validation_queries = QuerySet(
        GroundTruth.from_lists([[0]] * 30), Ragged.from_lists(seen), {"vector": queries}
    )
    scores = queries @ corpus.T
    for query, rows in enumerate(seen):
        scores[query, rows] = -np.inf
    np.testing.assert_array_equal(
        rank(queries, corpus, validation_queries, 12), top_k_rows(scores, 12)
    )
