import numpy as np
import pytest

from tests.contracts.searcher_contract import unit_vectors
from tests.reference.lexical import bm25 as oracle
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.index.first_lists import WordLists
from tfrs_twotower.ranking.ragged import Ragged

NUM = 30
VECTORS = unit_vectors(NUM, 4, 0)
COLOURS = ("red", "green", "blue")
TEXTS = [f"{COLOURS[row % 3]} hat{' band' * (row % 4)} number{row % 11}" for row in range(NUM)]
QUERIES = unit_vectors(70, 4, 1)
ASKED = [
    f"{COLOURS[query % 3]} band number{query % 11}" if query % 5 else "" for query in range(70)
]
RANKABLE = np.arange(NUM) % 7 != 0
KNOWN = Ragged.from_lists([[query % NUM, (query * 7 + 1) % NUM] for query in range(70)])
WEIGHT = 0.4


def fused(query):
    """Every candidate's score: the vectors propose all of so small a corpus."""
    dense = (VECTORS @ QUERIES[query] + 1) / (1 + (VECTORS @ QUERIES[query]).max())
    words = [text.split() for text in TEXTS]
    bm25 = np.array(oracle(words, ASKED[query].split(), 1.2, 0.75))
    share = bm25 / bm25.max() if bm25.max() > 0 else bm25
    return WEIGHT * dense + (1 - WEIGHT) * share


@pytest.fixture(scope="module")
def lexical():
    return Lexical(build_postings(TEXTS, k1=1.2, b=0.75), ("text",), WEIGHT)


@pytest.mark.parametrize("depth", [5, 40])
def test_lists_are_those_of_the_weighted_sum(lexical, depth):
    lists = WordLists(lexical, VECTORS, depth, RANKABLE)
    listed = np.tile(np.array([0, 3, 29]), (70, 1))
    found = lists.find(QUERIES, ASKED, KNOWN, listed)
    for query in range(70):
        scores = fused(query)
        np.testing.assert_allclose(found.listed[query], scores[[0, 3, 29]], rtol=1e-5)
        allowed = [row for row in np.flatnonzero(RANKABLE) if row not in KNOWN[query]]
        rows = found.rows[query][found.rows[query] >= 0]
        assert len(rows) == min(depth, len(allowed))
        assert set(rows) <= set(allowed)
        np.testing.assert_allclose(found.scores[query][: len(rows)], scores[rows], rtol=1e-5)
        best = np.sort(scores[allowed])[::-1][: len(rows)]
        np.testing.assert_allclose(found.scores[query][: len(rows)], best, rtol=1e-5)
        assert not found.scores[query][len(rows) :].any()


def test_words_alone_list_only_what_shares_a_word(lexical):
    alone = WordLists(Lexical(lexical.postings, ("text",)), VECTORS, 20)
    found = alone.find(QUERIES[:3], ["hat", "green", "unheard"], Ragged.from_lists([[]] * 3))
    assert (found.rows[0] >= 0).all()
    assert sorted(found.rows[1][found.rows[1] >= 0]) == list(range(1, NUM, 3))
    assert (found.rows[2] == -1).all()
    assert found.listed.shape == (3, 0)
