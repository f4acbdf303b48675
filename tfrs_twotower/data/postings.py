"""Postings: for each term of a corpus, the candidates whose text has it, and the words of a term.

What is kept are term counts, from which the impacts of BM25 follow, so that candidates can come and
go without their texts. Terms, and the words that stand for them, are made in
`closed_form.word_forms`; the graph looks up words in the same table.
"""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.data.stored_arrays import load_arrays
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact

LEXICAL_NAME, POSTINGS_NAME = "lexical.json", "postings.npz"
LEAST_DEPTH = 256
"""Candidates that each side of a hybrid proposes at least. Up to this length, a shorter list of a
hybrid is the beginning of a longer one."""
COSINE_MINIMUM = -1.0
"""From which the towers' scores are normalised."""
NO_TERM = -1
"""Fills the places of a list of terms that has fewer."""
SLOTS = 16
"""Terms that are scored by one addition; those of a longer query are added sum by sum."""


@dataclass(frozen=True)
class Postings:
    """The inverted index of a corpus.

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

    @property
    def frequencies(self) -> NDArray[np.int64]:
        """`[num_terms]` candidates that have the term."""
        return np.diff(self.starts)

    @cached_property
    def impacts(self) -> NDArray[np.float32]:
        """`[num_postings]`: what a term in the query adds to the candidate's score."""
        lengths = np.bincount(self.rows, weights=self.counts, minlength=self.num_candidates)
        average = max(float(lengths.mean()) if len(lengths) else 0.0, np.finfo(np.float64).tiny)
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
        frequencies = self.frequencies
        return np.log1p((self.num_candidates - frequencies + 0.5) / (frequencies + 0.5))

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
        """The postings of some candidates, numbered anew in the order of `kept`; all terms stay."""
        row_in_part = np.full(self.num_candidates, -1, np.int32)
        row_in_part[kept] = np.arange(len(kept), dtype=np.int32)
        terms = np.repeat(np.arange(len(self.terms)), self.frequencies)
        rows = row_in_part[self.rows]
        found = rows >= 0
        return replace(
            self,
            **posted(terms[found], rows[found], self.counts[found], len(self.terms)),
            num_candidates=len(kept),
        )

    def save(self, directory: Path) -> None:
        """Writes `postings.npz`; the same postings give the same bytes."""
        strings: dict[str, Any] = {
            name: np.frombuffer("\n".join(values).encode(), np.uint8)
            for name, values in (("terms", self.terms), ("words", self.words))
        }
        np.savez(
            directory / POSTINGS_NAME,
            **strings,
            term_of_word=self.term_of_word,
            starts=self.starts,
            rows=self.rows,
            counts=self.counts,
            settings=np.array([self.num_candidates, self.k1, self.b], np.float64),
        )


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

    def save(self, directory: Path) -> None:
        """Writes `lexical.json` and `postings.npz`."""
        described = {name: getattr(self, name) for name in ("inputs", "dense_weight", "feedback")}
        text = json.dumps(described, indent=2) + "\n"
        (directory / LEXICAL_NAME).write_text(text, encoding="utf-8")
        self.postings.save(directory)


def load_lexical(directory: Path, num_candidates: int, advice: str) -> Lexical | None:
    """Reads the search of words of a directory; None if it has none.

    Checksums are the caller's to verify.

    Args:
        directory: of an index, or `refresh/` of a version.
        num_candidates: size of the corpus.
        advice: what to do about a file that is missing or damaged, for messages.

    Raises:
        MissingArtifact: the postings are not there.
        CorruptArtifact: a file cannot be read, or the postings are of another corpus.
    """
    path = directory / LEXICAL_NAME
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        inputs, weight = tuple(map(str, described["inputs"])), described["dense_weight"]
        weight = None if weight is None else float(weight)
        feedback = float(described.get("feedback", 0.0))  # 0: before there was one
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. {advice}") from cause
    postings = load_postings(directory, advice)
    if postings.num_candidates != num_candidates:
        raise CorruptArtifact(
            f"{directory / POSTINGS_NAME}: has {postings.num_candidates} candidates, the corpus "
            f"{num_candidates}. {advice}"
        )
    return Lexical(postings, inputs, weight, feedback)


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


def load_postings(directory: Path, advice: str) -> Postings:
    """Reads `postings.npz`; see `load_lexical`.

    Raises:
        MissingArtifact: it is not there.
        CorruptArtifact: it cannot be read, or its arrays do not fit together.
    """
    path = directory / POSTINGS_NAME
    try:
        arrays = load_arrays(path)
        terms, words = (
            text.split("\n") if (text := arrays[name].tobytes().decode()) else []
            for name in ("terms", "words")
        )
        num_candidates, k1, b = arrays["settings"].tolist()
        postings = Postings(
            terms,
            words,
            **{name: arrays[name] for name in ("term_of_word", "starts", "rows", "counts")},
            num_candidates=int(num_candidates),
            k1=k1,
            b=b,
        )
    except FileNotFoundError:
        raise MissingArtifact(f"{path}: is missing. {advice}") from None
    except (ValueError, KeyError, TypeError, OSError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. {advice}") from cause
    if not _fits(postings):
        raise CorruptArtifact(
            f"{path}: its {len(terms)} terms, {len(words)} words and {len(postings.rows)} postings "
            "do not fit together: a place lies outside of its list, or an order is broken. "
            f"{advice}"
        )
    return postings


def _fits(postings: Postings) -> bool:
    starts, rows, words = postings.starts, postings.rows, postings.words
    return bool(
        len(starts) == len(postings.terms) + 1
        and starts[0] == 0
        and starts[-1] == len(rows) == len(postings.counts)
        and (np.diff(starts) >= 0).all()
        and len(postings.term_of_word) == len(words) == len(set(words))
        and _all_below(postings.term_of_word, len(postings.terms))
        and _all_below(rows, postings.num_candidates)
        and (postings.counts > 0).all()
    )


def _all_below(values: NDArray[np.integer], limit: int) -> bool:
    return not len(values) or (values.min() >= 0 and int(values.max()) < limit)
