import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.closed_form.bm25 import Bm25Index, build_postings, words_of
from tfrs_twotower.layers.lexical import LexicalScores, Permitted, Terms
from tfrs_twotower.ranking.order import LOWEST_SCORE

SETTINGS = {"k1": 1.2, "b": 0.75}
TEXTS = [
    "The cats sat, and the cat's dog",
    "",
    "naïve cafés; Straße ΣΊΣΥΦΟΣ don't İstanbul 日本語",
    "42 runners ran 3.14 miles: x² _under_score",
    "running runs run run dog",
]
QUERIES = [
    *TEXTS,
    "DOGS  running,cat's",
    "NAÏVE CAFÉS STRASSE straße Σίσυφος istanbul",
    "a b c the of \t\n",
    "dog\0cat",
    "日本語 x² 42",
    "dog " * 40 + "cat",
]
RNG = np.random.default_rng(5)
WORDS = np.array([f"word{number}" for number in range(50)])


@pytest.fixture(scope="module")
def corpus():
    """300 random texts, so that there are several blocks of rows."""
    texts = [" ".join(RNG.choice(WORDS, RNG.integers(0, 20))) for _ in range(300)]
    return texts, build_postings(texts, **SETTINGS)


def ranked(scores, k):
    """Rows by score, then row; those without a score are left out."""
    rows = np.lexsort((np.arange(len(scores)), -scores))[:k]
    return [int(row) for row in rows if scores[row] > 0]


@pytest.mark.parametrize("from_file", [False, True])
def test_the_graph_finds_the_terms_of_the_stemmer(from_file, tmp_path):
    postings, model = build_postings(TEXTS, **SETTINGS), Bm25Index(TEXTS, **SETTINGS)
    (tmp_path / "words.txt").write_bytes("".join(f"{w}\n" for w in postings.words).encode())
    found = Terms(postings, tmp_path / "words.txt" if from_file else None)(tf.constant(QUERIES))
    for query, terms in zip(QUERIES, found.numpy(), strict=True):
        known = [term for term in model.terms([query])[0] if term in postings.terms]
        assert [postings.terms[term] for term in terms if term >= 0] == known
        assert postings.terms_of(words_of(query)).tolist() == terms[terms >= 0].tolist()


def test_bytes_that_are_not_utf8_end_a_word():
    postings = build_postings(["cat dog"], **SETTINGS)
    assert Terms(postings)(tf.constant([b"\xffcat\xfe dog"])).numpy().tolist() == [[0, 1]]


def test_a_corpus_without_a_word_answers_nothing():
    postings = build_postings(["", ""], **SETTINGS)
    scored = LexicalScores(postings).search(Terms(postings)(tf.constant(["cat", ""])), 2)
    assert scored.rows.numpy().tolist() == [[-1, -1]] * 2
    assert scored.best.numpy().tolist() == [0, 0]


@pytest.mark.parametrize("length", [0, 1, 8, 16, 17, 33, 50])
@pytest.mark.parametrize("k", [1, 7, 300, 400])
def test_the_best_are_those_of_all_scores(corpus, length, k):
    _, postings = corpus
    terms = RNG.integers(0, len(postings.terms), (3, length)).astype(np.int32)
    found = LexicalScores(postings).search(tf.constant(terms), k)
    for line, own in enumerate(terms):
        expected = postings.scores(own)
        rows = found.rows.numpy()[line]
        assert rows[rows >= 0].tolist() == ranked(found_scores(postings, own), k)
        np.testing.assert_allclose(
            found.scores.numpy()[line][rows >= 0], expected[rows[rows >= 0]], rtol=1e-5
        )
        assert (found.scores.numpy()[line][rows < 0] == LOWEST_SCORE).all()
        assert found.best.numpy()[line] == pytest.approx(expected.max(), rel=1e-5)


def found_scores(postings, terms):
    """All scores, added by sixteen terms as the graph does, so that ties are the same."""
    parts = [postings.scores(terms[at : at + 16]) for at in range(0, max(len(terms), 1), 16)]
    return np.sum(parts, axis=0, dtype=np.float32)


def test_excluded_and_forbidden_candidates_are_left_out_and_still_scored(corpus):
    _, postings = corpus
    terms = np.array([[0, 1, 2], [3, 3, -1]], np.int32)
    scores = [postings.scores(own[own >= 0]) for own in terms]
    gone = np.array([[*ranked(scores[0], 2), -1], [-1, -1, -1]], np.int32)
    allowed = np.ones((2, 300), bool)
    allowed[1, ranked(scores[1], 3)] = False
    permits = Permitted(tf.constant(True), lambda query: tf.constant(allowed)[query])
    listed = np.array([ranked(scores[0], 2), ranked(scores[1], 2)], np.int32)
    found = LexicalScores(postings).search(
        tf.constant(terms), 20, tf.constant(gone), permits, listed
    )
    assert found.rows.numpy()[0].tolist() == ranked(scores[0], 22)[2:]
    assert found.rows.numpy()[1].tolist() == ranked(scores[1], 23)[3:]
    for line in range(2):
        np.testing.assert_allclose(
            found.listed.numpy()[line], scores[line][listed[line]], rtol=1e-5
        )
        assert found.best.numpy()[line] == pytest.approx(scores[line].max(), rel=1e-5)


def test_scores_of_listed_candidates(corpus):
    _, postings = corpus
    terms = np.array([[4, 5, 4, -1]], np.int32)
    rows = np.array([[299, 0, 7, -1]], np.int32)
    found = LexicalScores(postings).score(tf.constant(terms), tf.constant(rows)).numpy()[0]
    np.testing.assert_allclose(found, [*postings.scores([4, 5, 4])[[299, 0, 7]], 0], rtol=1e-5)
