"""A member of the pre-ranker that compares words: BM25 in the form that is served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.closed_form import bm25
from tfrs_twotower.data import loading
from tfrs_twotower.data.postings import NO_TERM, Postings
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.features.tower_inputs import Tokens, TowerInputs
from tfrs_twotower.layers.lexical import LexicalScores, Terms
from tfrs_twotower.ranking import RowArray
from tfrs_twotower.specs import FeatureSpec

FEATURES = ("bm25_log", "bm25_share")


@dataclass(frozen=True)
class HistoryTerms:
    """Terms of the candidates in a history, which stand for a query without text.

    Attributes:
        inputs: turns raw features into the tokens of the histories.
        terms: `[2 + vocabulary size, n]` terms by token, -1 for none.
        length: latest candidates of a history whose terms are taken.
    """

    inputs: TowerInputs
    terms: NDArray[np.int32]
    length: int


class LexicalMember(tf.Module):
    """BM25 of the words of a query and the texts of candidates.

    It has two scores: `bm25_log` is log(1 + BM25), because twice the score is not twice as
    relevant, and `bm25_share` is BM25 divided by the query's best score in the corpus. With the
    latter, the weighted sum of a cascade behind a hybrid can express every convex combination of
    normalised scores (Bruch et al. 2023), and not only the one that retrieval has chosen.

    Attributes:
        spec: the feature spec.
        postings: of the candidates, in row order.
        history: where terms come from if the query side has no text; otherwise None.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        postings: Postings,
        history: HistoryTerms | None = None,
        *,
        text_rows: RowArray | None = None,
        words_file: Path | None = None,
        shared: tuple[Terms, LexicalScores] | None = None,
    ) -> None:
        """Joins the parts.

        Args:
            spec: the feature spec.
            postings: of the texts.
            history: where terms come from if the query side has no text.
            text_rows: `[num_candidates]` row of each candidate's text in the postings; None if
                they are those of the candidates.
            words_file: see `layers.lexical.Terms`.
            shared: modules of the same postings, whose variables are used.
        """
        super().__init__(name="bm25")
        self.spec, self.postings, self.history = spec, postings, history
        self.text_rows = text_rows
        self._texts = loading.text_inputs(spec.query.features)
        self._terms, self._scores = shared or (Terms(postings, words_file), LexicalScores(postings))
        self._rows = None if text_rows is None else tf.constant(text_rows, tf.int32)
        self._history_terms: tf.Variable | None = None
        if history is not None:
            self._history_terms = tf.Variable(history.terms, trainable=False, name="history_terms")
        self._scored = tf.function(
            self._score, input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the scores."""
        return FEATURES

    @property
    def num_candidates(self) -> int:
        """Candidates that can be scored."""
        return self.postings.num_candidates if self.text_rows is None else len(self.text_rows)

    def served(
        self,
        words_file: Path | None,
        postings: Postings | None,
        shared: tuple[Terms, LexicalScores] | None,
    ) -> "LexicalMember":
        """The member in a graph, which may hold the same postings for its first stage already.

        Args:
            words_file: see `layers.lexical.Terms`.
            postings: those of the first stage, if it searches words.
            shared: their modules.
        """
        same = postings is not None and _are_equal(postings, self.postings)
        return LexicalMember(
            self.spec,
            self.postings,
            self.history,
            text_rows=self.text_rows,
            words_file=words_file,
            shared=shared if same else None,
        )

    def query_heads(self, raw: RawBatch) -> tf.Tensor:
        """Returns terms `[batch, n]` int32, -1 at the end, for raw query features."""
        if self.history is not None:
            return self.encode(self.history.inputs(raw))
        return self._terms.of_inputs(raw, self._texts)

    def encode(self, tokens: Tokens, texts: Sequence[str] | None = None) -> tf.Tensor:
        """Returns terms as `query_heads` does, for queries that have been read already.

        Args:
            tokens: `[batch, length]` of the histories; read only where the query side has no text.
            texts: the text features of each query, joined.
        """
        if self.history is None or self._history_terms is None:
            return self._terms(tf.constant(texts, tf.string))
        latest = tf.concat(
            [
                tokens[feature.name][:, : self.history.length]
                for feature in self.history.inputs.features
            ],
            axis=1,
        )
        terms = tf.gather(self._history_terms, latest)
        terms = tf.reshape(terms, [tf.shape(terms)[0], latest.shape[1] * terms.shape[2]])
        return tf.ragged.boolean_mask(terms, terms != NO_TERM).to_tensor(NO_TERM)

    def scores(self, terms: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Returns `[batch, 2, n]` for candidates at rows `[batch, n]`, all >= 0."""
        return self._scored(terms, tf.cast(rows, tf.int32))

    def _score(self, terms: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        if self._rows is not None:
            rows = tf.gather(self._rows, rows)
        found = self._scores.search(terms, 1, listed=rows)
        share = tf.math.divide_no_nan(found.listed, found.best[:, tf.newaxis])
        return tf.stack([tf.math.log1p(found.listed), share], axis=1)

    def at(self, rows: RowArray) -> "LexicalMember":
        """The member for the candidates at these rows, which keep the scores of the whole corpus.

        All postings stay: over a selection, other words would be rare, and the best score of a
        query another one.
        """
        text_rows = rows if self.text_rows is None else self.text_rows[rows]
        return LexicalMember(self.spec, self.postings, self.history, text_rows=text_rows)

    def refreshed(
        self, kept_rows: RowArray, to_read: RowArray, raw: Mapping[str, NDArray[Any]]
    ) -> "LexicalMember":
        """The member over candidates that came, changed and went. A shard knows only its own.

        Args:
            kept_rows: `[num_candidates]` earlier rows; -1 for a new candidate.
            to_read: rows of the candidates that are new or changed.
            raw: their raw features.
        """
        texts = loading.joined_texts(raw, self.spec.candidate.features) if len(to_read) else []
        unchanged = np.setdiff1d(np.arange(len(kept_rows)), to_read)
        every = np.arange(self.postings.num_candidates)
        own = every if self.text_rows is None else self.text_rows
        others = np.setdiff1d(every, own)
        before = np.concatenate([own[kept_rows[unchanged]], others])
        behind = len(kept_rows) + np.arange(len(others))
        postings = bm25.joined(
            [
                self.postings.take(before),
                bm25.build_postings(texts or [], k1=self.postings.k1, b=self.postings.b),
            ],
            [np.concatenate([unchanged, behind]), to_read],
        )
        history = self.history
        if history is not None:
            place = {term: number for number, term in enumerate(postings.terms)}
            renumbered = [place.get(term, NO_TERM) for term in self.postings.terms]
            # The last place is that of -1.
            terms = np.array([*renumbered, NO_TERM], np.int32)[history.terms]
            history = HistoryTerms(history.inputs, terms, history.length)
        text_rows = None if self.text_rows is None else np.arange(len(kept_rows))
        return LexicalMember(self.spec, postings, history, text_rows=text_rows)


def _are_equal(first: Postings, second: Postings) -> bool:
    return first is second or all(
        np.array_equal(getattr(first, field.name), getattr(second, field.name))
        for field in fields(Postings)
    )
