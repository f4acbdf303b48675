import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.metrics import GroundTruth
from tfrs_twotower.ranking.order import top_k_rows
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.towers.tower import Tower, TowerOutput, Towers
from tfrs_twotower.training import validation
from tfrs_twotower.training.validation import ValidationQueries, Validator, rank


class Given(Tower):
    """Embeds a token as the vector that it is."""

    def encode(self, tokens, training=False):
        assert not training
        return TowerOutput(tokens["vector"])


def measure(queries, corpus, relevant, seen=None, rankable=None, metrics=("recall@2",)):
    asked = ValidationQueries(
        {"vector": np.asarray(queries, np.float32)},
        GroundTruth.from_lists(relevant),
        Ragged.from_lists(seen or [[] for _ in queries]),
        rankable,
    )
    tokens = {"vector": tf.constant(corpus, tf.float32)}
    return Validator(Towers(Given(), Given()), tokens, asked, metrics)


def test_hand_worked_recall_with_seen_candidates():
    corpus = [[4.0], [3.0], [2.0], [1.0]]
    plain = measure([[1.0], [1.0]], corpus, [[1], [2, 3]]).measure()
    assert plain["recall@2"] == (1 / 1 + 0 / 2) / 2
    seen = measure([[1.0], [1.0]], corpus, [[1], [2, 3]], seen=[[], [0, 1]]).measure()
    assert seen["recall@2"] == (1 / 1 + 2 / 2) / 2


def test_candidates_that_may_not_be_ranked_are_not():
    rankable = np.array([False, True, True, True])
    values = measure([[1.0]], [[4.0], [3.0], [2.0], [1.0]], [[2]], rankable=rankable)
    assert values.measure()["recall@2"] == 1.0


def test_ties_go_to_the_lower_row():
    values = measure([[1.0]] * 4, [[1.0]] * 4, [[0], [1], [2], [3]])
    assert values.measure()["recall@2"] == 2 / 4


def test_a_corpus_smaller_than_k():
    values = measure([[1.0]], [[1.0], [0.5]], [[1]], metrics=("recall@10", "mrr@5"))
    assert values.measure()["recall@10"] == 1.0
    assert values.measure()["mrr@5"] == 1 / 2


@pytest.mark.parametrize("seed", range(3))
def test_equals_numpys_exact_ranking(seed, monkeypatch):
    monkeypatch.setattr(validation, "_CHUNK", 7)
    random = np.random.default_rng(seed)
    # Small whole numbers: many ties.
    queries = random.integers(-2, 3, (30, 3)).astype(np.float32)
    corpus = random.integers(-2, 3, (40, 3)).astype(np.float32)
    seen = [random.choice(40, random.integers(0, 9), replace=False) for _ in range(30)]
    asked = ValidationQueries(
        {"vector": queries}, GroundTruth.from_lists([[0]] * 30), Ragged.from_lists(seen)
    )
    scores = queries @ corpus.T
    for query, rows in enumerate(seen):
        scores[query, rows] = -np.inf
    np.testing.assert_array_equal(rank(queries, corpus, asked, 12), top_k_rows(scores, 12))


def test_a_sample_is_fixed_and_keeps_what_belongs_to_each_query():
    queries = ValidationQueries(
        {"vector": np.arange(20, dtype=np.float32)[:, None]},
        GroundTruth.from_lists(
            [[i, i + 1] for i in range(20)], [[1.0 + i, 2.0] for i in range(20)]
        ),
        Ragged.from_lists([[i + 2] * (i % 2) for i in range(20)]),
    )
    sample = queries.sample(5, seed=3)
    again = queries.sample(5, seed=3)
    np.testing.assert_array_equal(sample.tokens["vector"], again.tokens["vector"])
    assert len(sample) == 5
    for place, which in enumerate(sample.tokens["vector"][:, 0].astype(int)):
        np.testing.assert_array_equal(sample.truth.relevant[place], [which, which + 1])
        np.testing.assert_array_equal(sample.seen[place], [which + 2] * (which % 2))
        assert sample.truth.gains[2 * place] == 1.0 + which
    assert queries.sample(20, seed=3) is queries
