from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import lexical as reference
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation import text_retrieval
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer, ranked_chunks
from tfrs_twotower.index import lexical as lexical_module
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.lexical import (
    ExactTextLists,
    HybridSearch,
    LexicalSearch,
    asked,
    first_stage,
)
from tfrs_twotower.index.restricts import Attributes, CandidateAttributes
from tfrs_twotower.ranking import GroundTruth, Ragged
from tfrs_twotower.ranking.order import LOWEST_SCORE

NUM_CANDIDATES, NUM_QUERIES, DIM, K = 90, 12, 8, 10
DEPTH = 20
RNG = np.random.default_rng(11)
WORDS = np.array([f"word{number}" for number in range(40)])


def unit(count):
    vectors = RNG.normal(size=(count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(0, 9))) for _ in range(NUM_CANDIDATES)]
QUERIES = ["", "unknown words", *(" ".join(RNG.choice(WORDS, 3)) for _ in range(NUM_QUERIES - 2))]
VECTORS, EMBEDDINGS = unit(NUM_CANDIDATES), unit(NUM_QUERIES)
POSTINGS = build_postings(TEXTS, k1=1.2, b=0.75)
HYBRID = Lexical(POSTINGS, ("title", "text"), 0.35)
RAW = {"title": tf.constant(QUERIES), "text": tf.constant([""] * NUM_QUERIES)}
COSINES = (EMBEDDINGS.astype(np.float64) @ VECTORS.T.astype(np.float64)).tolist()
OF_WORDS = [
    reference.bm25(
        [text.split() for text in TEXTS], [w for w in query.split() if w in WORDS], 1.2, 0.75
    )
    for query in QUERIES
]


@pytest.fixture(autouse=True)
def few_proposals(monkeypatch):
    """Each side proposes fewer candidates than there are."""
    monkeypatch.setattr(lexical_module, "LEAST_DEPTH", DEPTH)
    monkeypatch.setattr(text_retrieval, "LEAST_DEPTH", DEPTH)


def hybrid():
    return HybridSearch(ExactSearch(VECTORS), HYBRID)


def searched(search, k=K, excluded=None, permits=None):
    queries = asked(search, tf.constant(EMBEDDINGS), RAW)
    scores, rows = search.search(queries, k, excluded, permits)
    return scores.numpy(), rows.numpy()


def check(found, expected, k=K):
    for scores, rows, wanted in zip(*found, expected, strict=True):
        assert [row for row in rows if row >= 0] == [row for row, _ in wanted[:k]]
        np.testing.assert_allclose(
            scores[: len(wanted[:k])], [score for _, score in wanted[:k]], rtol=1e-5
        )
        assert (scores[rows < 0] == LOWEST_SCORE).all()


def expected_hybrids(left_out=None, depth=DEPTH):
    return [
        reference.hybrid(cosines, words, 0.35, depth, (left_out or {}).get(query, set()))
        for query, (cosines, words) in enumerate(zip(COSINES, OF_WORDS, strict=True))
    ]


def test_a_hybrid_by_hand():
    """Cosines 1 and .6, BM25 only of the second: .25 * 2/2 = .25 and .25 * 1.6/2 + .75 = .95."""
    postings = build_postings(["other", "word", "third"], k1=1.2, b=0.75)
    vectors = np.array([[1, 0], [0.6, 0.8], [-1, 0]], np.float32)
    search = HybridSearch(ExactSearch(vectors), Lexical(postings, ("text",), 0.25))
    queries = asked(search, tf.constant([[1.0, 0.0]]), {"text": tf.constant(["word"])})
    scores, rows = search.search(queries, 3)
    assert rows.numpy().tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(
        scores.numpy(), [[0.25 * 1.6 / 2 + 0.75, 0.25 * 2 / 2, 0.0]], atol=1e-6
    )


def test_a_hybrid_is_that_of_the_definition():
    check(searched(hybrid()), expected_hybrids())


def test_words_alone_are_ranked_by_bm25_and_others_left_out():
    scores, rows = searched(first_stage(ExactSearch(VECTORS), replace(HYBRID, dense_weight=None)))
    for query, of_words in enumerate(OF_WORDS):
        best = sorted((score for score in of_words if score > 0), reverse=True)[:K]
        found = [row for row in rows[query] if row >= 0]
        np.testing.assert_allclose(scores[query][: len(best)], best, rtol=1e-5)
        np.testing.assert_allclose([of_words[row] for row in found], best, rtol=1e-5)
    assert (rows[:2] == -1).all(), "no word, and none that the corpus has"


def test_exclusions_and_restricts_change_no_score():
    """Not even where they leave out the best of either side."""
    before = [dict(line) for line in expected_hybrids(depth=NUM_CANDIDATES)]
    best = [max(range(NUM_CANDIDATES), key=line.__getitem__) for line in COSINES]
    first = [max(range(NUM_CANDIDATES), key=line.__getitem__) for line in OF_WORDS]
    gone = [set(pair) for pair in zip(best, first, strict=True)]
    excluded = tf.constant([[-1, *pair, -1] for pair in zip(best, first, strict=True)])
    check(searched(hybrid(), excluded=excluded), expected_hybrids(dict(enumerate(gone))))
    colours = np.array([b"red" if row % 3 else b"blue" for row in range(NUM_CANDIDATES)], object)
    attributes = Attributes(CandidateAttributes({"colour": colours}))
    deny = tf.constant([["colour=red"]] * NUM_QUERIES)
    permits = attributes.permits(tf.constant([[""]] * NUM_QUERIES), deny)
    red = {row for row in range(NUM_CANDIDATES) if row % 3}
    found = searched(hybrid(), excluded=excluded, permits=permits)
    check(found, expected_hybrids({query: red | own for query, own in enumerate(gone)}))
    for scores, rows, all_scores in zip(*found, before, strict=True):
        np.testing.assert_allclose(
            scores[rows >= 0], [all_scores[row] for row in rows if row >= 0], rtol=1e-5
        )


def test_listed_candidates_get_the_scores_of_a_search():
    search = hybrid()
    scores, rows = searched(search)
    queries = asked(search, tf.constant(EMBEDDINGS), RAW)
    np.testing.assert_allclose(search.score(queries, tf.constant(rows)), scores, rtol=1e-5)


def test_a_shorter_list_is_the_beginning_of_a_longer_one():
    np.testing.assert_array_equal(searched(hybrid(), 3)[1], searched(hybrid(), DEPTH)[1][:, :3])


def test_weights_of_0_and_1_are_the_sides_themselves():
    dense = HybridSearch(ExactSearch(VECTORS), replace(HYBRID, dense_weight=1.0))
    exact = ExactSearch(VECTORS).search(tf.constant(EMBEDDINGS), K)[1]
    np.testing.assert_array_equal(searched(dense)[1], exact)
    words = LexicalSearch(replace(HYBRID, dense_weight=None))
    only, hybrid_rows = (
        searched(words)[1],
        searched(HybridSearch(ExactSearch(VECTORS), replace(HYBRID, dense_weight=0.0)))[1],
    )
    np.testing.assert_array_equal(np.where(only >= 0, hybrid_rows, -1), only)


@pytest.mark.parametrize(
    ("weight", "feedback"), [(None, 0.0), (0.35, 0.0), (None, 0.4), (0.35, 0.4)]
)
def test_the_evaluation_ranks_as_the_graph_does(weight, feedback):
    """The same lists from NumPy, with candidates that the query has seen."""
    lexical = replace(HYBRID, dense_weight=weight, feedback=feedback)
    seen = [list(range(query, query + 3)) for query in range(NUM_QUERIES)]
    queries = QuerySet(
        GroundTruth.from_lists([np.array([0])] * NUM_QUERIES), Ragged.from_lists(seen)
    )
    scorer = text_retrieval.TextRetrieval(lexical, EmbeddingScorer(EMBEDDINGS, VECTORS), QUERIES)
    search = first_stage(ExactSearch(VECTORS), lexical)
    served = searched(search, excluded=tf.constant(seen))
    ((_, rows, scores),) = ranked_chunks(scorer, queries, np.ones(NUM_CANDIDATES, bool), K)
    np.testing.assert_array_equal(rows, served[1])
    np.testing.assert_allclose(scores[rows >= 0], served[0][rows >= 0], rtol=1e-5)


def test_the_words_of_first_passages_are_asked_whatever_a_query_may_get():
    """Exclusions change no score, and one query is answered as it is among others."""
    words = LexicalSearch(replace(HYBRID, dense_weight=None, feedback=0.4))
    plain = searched(LexicalSearch(replace(HYBRID, dense_weight=None)))[1]
    scores, rows = searched(words)
    assert ((rows >= 0).sum(axis=1) >= (plain >= 0).sum(axis=1)).all()
    assert (rows != plain).any()
    gone = tf.constant(plain[:, :5])
    found = searched(words, excluded=gone)
    for query in range(NUM_QUERIES):
        kept = [row for row in rows[query] if row not in plain[query, :5]]
        assert found[1][query, : len(kept)].tolist() == kept
        before = dict(zip(rows[query], scores[query], strict=True))
        np.testing.assert_allclose(found[0][query, : len(kept)], [before[row] for row in kept])
        alone = asked(
            words,
            tf.constant(EMBEDDINGS[query : query + 1]),
            {name: values[query : query + 1] for name, values in RAW.items()},
        )
        assert words.search(alone, K)[1].numpy()[0].tolist() == rows[query].tolist()


def test_overlap_with_the_exact_lists_is_1_for_the_search_itself():
    lists = ExactTextLists(HYBRID, VECTORS)
    raw = {name: values.numpy() for name, values in RAW.items()}
    rows = searched(hybrid())[1].astype(np.int64)
    np.testing.assert_array_equal(lists.overlaps(EMBEDDINGS, raw, rows), np.ones(NUM_QUERIES))
    rows[0, : K // 2] = -1
    assert lists.overlaps(EMBEDDINGS, raw, rows)[0] == 0.5
