"""BM25 over all text features (Robertson; the `lucene` variant of bm25s), and its postings."""

import logging
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import bm25s
import numpy as np
import Stemmer
from bm25s.stopwords import STOPWORDS_EN
from numpy.typing import NDArray

from tfrs_twotower.closed_form.word_forms import inflections
from tfrs_twotower.data.postings import Postings, posted

logging.getLogger("bm25s").setLevel(logging.WARNING)  # the import of bm25s sets DEBUG

ANALYSER = "bm25s lucene, English stop words, Snowball stemmer"
_WORD = re.compile(r"\w\w+")
_STOP_WORDS = frozenset(STOPWORDS_EN)


class Bm25Index:
    """BM25 scores of the texts of a corpus.

    score = sum over query terms t of idf(t) tf / (tf + k1 (1 - b + b |d| / average |d|)), with
    idf(t) = log(1 + (N - df + .5) / (df + .5)). A repeated query term counts each time.
    """

    def __init__(self, texts: Sequence[str], *, k1: float, b: float) -> None:
        self._stemmer = Stemmer.Stemmer("english")
        self._num_candidates = len(texts)
        self._model = bm25s.BM25(method="lucene", k1=k1, b=b)
        terms = self.terms(texts)
        self._empty = not any(terms)
        if not self._empty:
            self._model.index(terms, show_progress=False)

    def terms(self, texts: Sequence[str]) -> list[list[str]]:
        """Returns the stemmed terms of each text, without stop words."""
        return bm25s.tokenize(
            list(texts),
            stopwords="en",
            stemmer=self._stemmer,
            return_ids=False,
            show_progress=False,
        )

    def scores(self, terms: list[str]) -> NDArray[np.float32]:
        """Returns `[num_candidates]` scores of one analysed query; 0 if no term is shared."""
        if self._empty or not terms:
            return np.zeros(self._num_candidates, np.float32)
        return np.asarray(self._model.get_scores(terms), np.float32)


def words_of(text: str) -> list[str]:
    """The lower-case words of a text in their order, of two letters or digits and more.

    Stop words are among them; no term stands behind those.
    """
    return _WORD.findall(text.lower())


def build_postings(
    texts: Iterable[str],
    *,
    k1: float,
    b: float,
    others: Mapping[int, Sequence[str]] = MappingProxyType({}),
    other_weight: float = 0.0,
) -> Postings:
    """Postings with the scores of `Bm25Index`.

    A query's words are looked up in a table of words that has those of the corpus and the
    inflections of each, as the stemmer maps them to a stem that the corpus has.

    Args:
        texts: of the candidates, in row order.
        k1: saturation of a term's count.
        b: normalisation by the length of the text.
        others: further texts by row, such as questions that the candidate answers.
        other_weight: how much a word of those counts; 0 leaves them out.
    """
    stem = Stemmer.Stemmer("english").stemWord
    places: dict[str, int] = {}
    term_of_word: dict[str, int] = {}

    def counted(text: str) -> Counter[int]:
        words = [word for word in words_of(text) if word not in _STOP_WORDS]
        for word in words:
            if word not in term_of_word:
                term_of_word[word] = places.setdefault(stem(word), len(places))
        return Counter(map(term_of_word.__getitem__, words))

    # Plain arrays: a dictionary for each candidate would take many times the memory.
    terms, counts, lengths = array("i"), array("f"), array("i")
    for row, text in enumerate(texts):
        own: dict[int, float] = dict(counted(text))
        for other in others.get(row, ()) if other_weight else ():
            for term, count in counted(other).items():
                own[term] = own.get(term, 0.0) + other_weight * count
        terms.extend(own)
        counts.extend(own.values())
        lengths.append(len(own))
    found = np.array(terms, np.int32)
    names = list(places)
    by_frequency = np.lexsort((np.array(names), -np.bincount(found, minlength=len(names))))
    words = {word: names[at] for word, at in term_of_word.items()}
    words |= inflections([names[at] for at in by_frequency], words, _STOP_WORDS)
    return _ordered(
        names,
        words,
        found,
        np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        np.array(counts, np.float32),
        num_candidates=len(lengths),
        k1=k1,
        b=b,
    )


def joined(parts: Sequence[Postings], rows: Sequence[NDArray[np.integer]]) -> Postings:
    """Postings of several groups of candidates as those of one corpus.

    Args:
        parts: at least one, all with the same k1 and b, which is kept.
        rows: of each part, the rows of its candidates in the corpus; together every row once.
    """
    places: dict[str, int] = {}
    words: dict[str, str] = {}
    found, counts, placed = [], [], []
    for part, own in zip(parts, rows, strict=True):
        # A term that no candidate has any more is dropped with its words.
        used = part.frequencies > 0
        new_place = np.array(
            [
                places.setdefault(term, len(places)) if is_used else -1
                for term, is_used in zip(part.terms, used, strict=True)
            ],
            np.int32,
        )
        words |= {
            word: part.terms[term]
            for word, term in zip(part.words, part.term_of_word, strict=True)
            if used[term]
        }
        found.append(np.repeat(new_place, part.frequencies))
        counts.append(part.counts)
        placed.append(own[part.rows])
    return _ordered(
        list(places),
        words,
        np.concatenate(found),
        np.concatenate(placed),
        np.concatenate(counts),
        num_candidates=sum(map(len, rows)),
        k1=parts[0].k1,
        b=parts[0].b,
    )


def _ordered(
    names: Sequence[str],
    term_of_word: Mapping[str, str],
    found: NDArray[np.integer],
    rows: NDArray[np.integer],
    counts: NDArray[np.floating],
    **settings: Any,
) -> Postings:
    """Postings of counts `[n]` of the terms `names[found]` in candidates, with sorted terms."""
    terms, words = sorted(names), sorted(term_of_word)
    place = {term: number for number, term in enumerate(terms)}
    new_place = np.array([place[name] for name in names], np.int32)
    return Postings(
        terms,
        words,
        np.array([place[term_of_word[word]] for word in words], np.int32),
        **posted(new_place[found], rows, counts, len(terms)),
        **settings,
    )
