import numpy as np
import pytest

from tfrs_twotower.closed_form.bm25 import Bm25Index, build_postings, joined, words_of

FEVERS = [
    "fever fever cough rash pain",
    "cough rash pain",
    "rash pain ache cough",
    "pain ache rash cough",
]
MIXED = [
    "The cats sat, and the cat's dog",
    "",
    "naïve cafés; Straße ΣΊΣΥΦΟΣ don't",
    "42 runners ran 3.14 miles: x² _under_score",
    "running runs run run",
]
SETTINGS = {"k1": 1.2, "b": 0.75}


def bm25s_scores(texts, query, settings):
    """Lucene's BM25 as bm25s has it: a stranger's implementation."""
    index = Bm25Index(texts, **settings)
    return index.scores(index.terms([query])[0])


def test_bm25_by_hand():
    """The term occurs twice, in one of four texts, which has 5 terms; the average is 4."""
    index = Bm25Index(FEVERS, **SETTINGS)
    fever, stop_word, unknown = map(index.scores, index.terms(["fever", "the", "unknown"]))
    idf = np.log(1 + (4 - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 5 / 4))
    assert expected == pytest.approx(0.703050, abs=1e-6)
    np.testing.assert_allclose(fever, [expected, 0, 0, 0], rtol=1e-5)
    assert not stop_word.any()
    assert not unknown.any()
    postings = build_postings(FEVERS, **SETTINGS)
    np.testing.assert_allclose(postings.scores(postings.terms_of(["fever"])), fever, rtol=1e-6)


def test_building_bm25_is_silent(caplog):
    with caplog.at_level("DEBUG"):
        Bm25Index(["some words", "other words"], k1=1.2, b=0.75)
    assert not caplog.records


@pytest.mark.parametrize("settings", [SETTINGS, {"k1": 0.6, "b": 0.3}, {"k1": 2.0, "b": 1.0}])
@pytest.mark.parametrize(
    "query", ["cat", "cats dog dogs", "run running RUN", "the of", "", "café STRASSE σίσυφος", "42"]
)
def test_postings_give_the_scores_of_bm25s(query, settings):
    postings = build_postings(MIXED, **settings)
    scores = postings.scores(postings.terms_of(words_of(query)))
    np.testing.assert_allclose(scores, bm25s_scores(MIXED, query, settings), atol=1e-5)


def test_random_texts_have_the_scores_of_bm25s():
    rng = np.random.default_rng(3)
    words = np.array([f"word{number}" for number in range(60)])
    texts = [" ".join(rng.choice(words, rng.integers(0, 30))) for _ in range(200)]
    postings = build_postings(texts, **SETTINGS)
    for _ in range(20):
        query = " ".join(rng.choice(words, rng.integers(1, 12)))
        scores = postings.scores(postings.terms_of(words_of(query)))
        np.testing.assert_allclose(scores, bm25s_scores(texts, query, SETTINGS), atol=1e-5)


def test_a_text_without_a_word_and_a_corpus_without_one_have_no_scores():
    postings = build_postings(["", "..."], **SETTINGS)
    assert postings.words == []
    assert postings.scores(postings.terms_of(["word"])).tolist() == [0, 0]


def test_further_texts_count_by_their_weight():
    """Four words and half of one: `ache` counts .5 in a text of length 3.5, `rash` 1.5 in it."""
    others = {1: ["the ache"]}
    postings = build_postings(FEVERS, **SETTINGS, others=others, other_weight=0.5)
    lengths = np.array([5, 3.5, 4, 4])
    saturation = 1.2 * (1 - 0.75 + 0.75 * lengths / lengths.mean())
    idf = np.log(1 + (4 - 3 + 0.5) / (3 + 0.5))
    counts = np.array([0, 0.5, 1, 1])
    expected = idf * counts / (counts + saturation)
    np.testing.assert_allclose(postings.scores(postings.terms_of(["ache"])), expected, rtol=1e-6)
    off = build_postings(FEVERS, **SETTINGS, others=others)
    assert off.counts.tolist() == build_postings(FEVERS, **SETTINGS).counts.tolist()


def test_parts_that_are_joined_score_as_one_corpus():
    kept, new = [0, 2, 4], ["dogs and birds", "a cafe"]
    parts = [build_postings(MIXED, **SETTINGS).take(np.array(kept)), build_postings(new, k1=9, b=1)]
    whole = joined(parts, [np.array([0, 1, 3]), np.array([2, 4])])
    texts = [MIXED[0], MIXED[2], new[0], MIXED[4], new[1]]
    built = build_postings(texts, **SETTINGS)
    assert whole.terms == built.terms
    np.testing.assert_allclose(whole.impacts, built.impacts, rtol=1e-6)
    assert set(built.words) == set(whole.words)  # none of a text that is gone
    for query in ("dog run", "bird cafe", "runner 42"):
        scores = whole.scores(whole.terms_of(words_of(query)))
        np.testing.assert_allclose(scores, bm25s_scores(texts, query, SETTINGS), atol=1e-5)
