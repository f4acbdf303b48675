"""Postings: for each term of a corpus, the candidates whose text has it, and the words of a term.

What is kept are term counts, from which the impacts of BM25 follow, so that candidates can come and
go without their texts. Terms, and the words that stand for them, are made in
`closed_form.word_forms`; the graph looks up words in the same table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

LEAST_DEPTH = 256
"""Candidates that each side of a hybrid proposes at least. Up to this length, a shorter list of a
hybrid is the beginning of a longer one."""
COSINE_MINIMUM = -1.0
"""From which the towers' scores are normalised."""
NO_TERM = -1
"""Fills the places of a list of terms that has fewer."""
SLOTS = 16
"""Terms that are scored by one addition; those of a longer query are added sum by sum."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What BM25 takes from a whole corpus: how rare its terms are, and how long its texts."""

    num_candidates: int
    total_length: float
    """Sum of all counts."""
    frequencies: NDArray[np.int64]
    """`[num_terms]` candidates that have the term."""

    def include(self, other: "Statistics") -> bool:
        """Whether `other`, of the same terms, can be those of a part of this corpus."""
        return (
            self.num_candidates >= other.num_candidates
            and len(self.frequencies) == len(other.frequencies)
            and bool((self.frequencies >= other.frequencies).all())
            and bool((self.frequencies <= self.num_candidates).all())
        )


@dataclass(frozen=True)
class Postings:
    """The inverted index of a corpus, or of a shard of one.

    BM25 in the form of Lucene (Robertson): a term t adds to the score of a candidate d

        log(1 + (N - df + .5) / (df + .5)) * tf / (tf + k1 (1 - b + b |d| / average |d|)),

    N candidates, df of them with t, tf the count of t in d, |d| the sum of its counts.
    """

    terms: list[str]
    """Stems, sorted; a term is known by its place here."""
    words: list[str]
    """Lower-case words that a query may have, sorted; each stands for one term."""
    term_of_word: NDArray[np.int32]
    """`[num_words]` places in `terms`."""
    starts: NDArray[np.int64]
    """`[num_terms + 1]`: term t has the postings from `starts[t]` up to `starts[t + 1]`."""
    rows: NDArray[np.int32]
    """`[num_postings]` candidates, ascending within a term."""
    counts: NDArray[np.float32]
    """`[num_postings]` how often the candidate's text has the term, above 0."""
    num_candidates: int
    k1: float = 1.2
    """Saturation of a term's count."""
    b: float = 0.75
    """Normalisation by the length of the text."""
    whole: Statistics | None = None
    """Of the corpus that these candidates are a shard of, by the same terms; None: they are all."""

    @property
    def frequencies(self) -> NDArray[np.int64]:
        """`[num_terms]` of these candidates, how many have the term."""
        return np.diff(self.starts)

    @property
    def statistics_of_own(self) -> Statistics:
        """Those of these candidates alone."""
        total = float(self.counts.sum(dtype=np.float64))
        return Statistics(self.num_candidates, total, self.frequencies)

    @cached_property
    def statistics(self) -> Statistics:
        """Those that scores are computed with."""
        return self.statistics_of_own if self.whole is None else self.whole

    @cached_property
    def impacts(self) -> NDArray[np.float32]:
        """`[num_postings]`: what a term in the query adds to the candidate's score."""
        lengths = np.bincount(self.rows, weights=self.counts, minlength=self.num_candidates)
        average = self.statistics.total_length / max(1, self.statistics.num_candidates)
        average = max(average, np.finfo(np.float64).tiny)
        saturation = self.k1 * (1.0 - self.b + self.b * lengths / average)
        of_rows = self.counts + saturation[self.rows]
        rarity = np.repeat(self._rarities, self.frequencies)
        return (rarity * self.counts / of_rows).astype(np.float32)

    @property
    def rarities(self) -> NDArray[np.float32]:
        """`[num_terms]`: idf, the first factor of a term's score."""
        return self._rarities.astype(np.float32)

    @cached_property
    def _rarities(self) -> NDArray[np.float64]:
        size, frequencies = self.statistics.num_candidates, self.statistics.frequencies
        return np.log1p((size - frequencies + 0.5) / (frequencies + 0.5))

    @cached_property
    def _place_of_word(self) -> dict[str, int]:
        return dict(zip(self.words, self.term_of_word.tolist(), strict=True))

    def terms_of(self, words: list[str]) -> NDArray[np.int32]:
        """The terms of a query's lower-case words, in their order; unknown words give none."""
        found = map(self._place_of_word.get, words)
        return np.array([term for term in found if term is not None], np.int32)

    def scores(
        self, query_terms: NDArray[np.integer], weights: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """BM25 of every candidate, `[num_candidates]`; a repeated term counts each time.

        Args:
            query_terms: `[n]`.
            weights: `[n]` of these; None weighs all alike.
        """
        scores = np.zeros(self.num_candidates, np.float32)
        for at in range(0, len(query_terms), SLOTS):
            part = np.zeros_like(scores)
            for place, term in enumerate(query_terms[at : at + SLOTS], at):
                own = slice(self.starts[term], self.starts[term + 1])
                weight = np.float32(1.0) if weights is None else weights[place]
                part[self.rows[own]] += weight * self.impacts[own]
            scores += part
        return scores

    def heaviest_terms(self, most: int) -> NDArray[np.int32]:
        """The terms that weigh most in each candidate's text.

        Args:
            most: number of terms.

        Returns:
            `[num_candidates, most]` terms, the largest impact first, then in their order; -1 at the
            end of a shorter text.
        """
        of_posting = np.repeat(np.arange(len(self.terms), dtype=np.int32), self.frequencies)
        order = np.lexsort((of_posting, -self.impacts, self.rows))
        rows = self.rows[order]
        lengths = np.bincount(rows, minlength=self.num_candidates)
        rank = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        heavy = rank < most
        terms = np.full((self.num_candidates, most), NO_TERM, np.int32)
        terms[rows[heavy], rank[heavy]] = of_posting[order][heavy]
        return terms

    def take(self, kept: NDArray[np.integer]) -> "Postings":
        """The postings of some candidates, numbered anew in the order of `kept`; all terms stay.

        They are a corpus of their own; see `shard`.
        """
        row_in_part = np.full(self.num_candidates, -1, np.int32)
        row_in_part[kept] = np.arange(len(kept), dtype=np.int32)
        terms = np.repeat(np.arange(len(self.terms)), self.frequencies)
        rows = row_in_part[self.rows]
        found = rows >= 0
        return replace(
            self,
            **posted(terms[found], rows[found], self.counts[found], len(self.terms)),
            num_candidates=len(kept),
            whole=None,
        )

    def shard(self, rows: NDArray[np.integer]) -> "Postings":
        """As `take`, but candidates keep the scores that they have in this corpus."""
        return replace(self.take(rows), whole=self.statistics)


@dataclass(frozen=True)
class Lexical:
    """The search of words of an index."""

    postings: Postings
    inputs: tuple[str, ...]
    """Raw inputs of the query tower that together hold the query's text, `[batch]` each."""
    dense_weight: float | None = None
    """Share of the towers' score in that of a hybrid; None searches words alone."""
    feedback: float = 0.0
    """Share of the first passages' words in a query (`data.feedback`)."""

    @property
    def kind(self) -> Literal["lexical", "hybrid"]:
        """Kind of the index."""
        return "lexical" if self.dense_weight is None else "hybrid"

    def with_postings(self, postings: Postings) -> "Lexical":
        """The same search over other candidates."""
        return replace(self, postings=postings)


def as_shards(parts: Sequence[Postings]) -> list[Postings]:
    """All shards of a corpus, each with the statistics of all of them together."""
    own = [part.statistics_of_own for part in parts]
    names = np.concatenate([np.array(part.terms, object) for part in parts])
    terms, places = np.unique(names, return_inverse=True)
    frequencies = np.zeros(len(terms), np.int64)
    np.add.at(frequencies, places, np.concatenate([one.frequencies for one in own]))
    size, length = sum(one.num_candidates for one in own), sum(one.total_length for one in own)
    of_parts = np.split(places, np.cumsum([len(part.terms) for part in parts])[:-1])
    return [
        replace(part, whole=Statistics(size, length, frequencies[place]))
        for part, place in zip(parts, of_parts, strict=True)
    ]


def posted(
    terms: NDArray[np.integer],
    rows: NDArray[np.integer],
    counts: NDArray[np.floating],
    num_terms: int,
) -> dict[str, Any]:
    """`starts`, `rows` and `counts` of postings that come in any order, each pair once."""
    order = np.lexsort((rows, terms))
    starts = np.zeros(num_terms + 1, np.int64)
    np.cumsum(np.bincount(terms, minlength=num_terms), out=starts[1:])
    return {
        "starts": starts,
        "rows": rows[order].astype(np.int32),
        "counts": counts[order].astype(np.float32),
    }
