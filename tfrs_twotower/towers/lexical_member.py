"""A member of the pre-ranker that compares words: BM25 in the form that is served.

bm25/
    architecture.json    feature spec, number of latest candidates of a history
    postings.npz         `tfrs_twotower.data.postings`
    history_terms.npy    [2 + vocabulary size, n] int32 terms by token of the history, -1 for none;
                         only where the query side has no text
    vocabularies/  statistics.json                                          of the history
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from pydantic import ValidationError

from tfrs_twotower.artifacts.layout import (
    ARCHITECTURE,
    HISTORY_TERMS,
    STATISTICS,
    VOCABULARIES,
)
from tfrs_twotower.closed_form import bm25
from tfrs_twotower.data import loading
from tfrs_twotower.data.assets import Assets, load_assets, write_assets
from tfrs_twotower.data.postings import Postings, load_postings
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.data.stored_arrays import load_array
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.features.tower_inputs import Tokens, TowerInputs
from tfrs_twotower.layers.lexical import LexicalScores, Terms
from tfrs_twotower.ranking import RowArray
from tfrs_twotower.specs import NUM_SPECIAL_ROWS, FeatureSpec, Side, TextFeature
from tfrs_twotower.towers.linear_member import history_inputs

FEATURES = ("bm25", "bm25_share")
NO_TERM = -1
"""Fills the places of a list of terms that has fewer."""


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

    It has two scores: `bm25`, and `bm25_share`, which is `bm25` divided by the query's best score
    in the corpus. With the latter, the weighted sum of the cascade can express the convex
    combination of Bruch et al. (2023), whose lexical part is normalised for each query.

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
        rows: RowArray | None = None,
        words_file: Path | None = None,
    ) -> None:
        """Joins the parts.

        Args:
            spec: the feature spec.
            postings: of the corpus.
            history: where terms come from if the query side has no text.
            rows: of the corpus, those of the candidates that are scored; None means all.
            words_file: see `layers.lexical.Terms`.
        """
        super().__init__(name="bm25")
        self.spec, self.postings, self.history = spec, postings, history
        self._texts = text_names(spec.query)
        self._terms = Terms(postings, words_file)
        self._scores = LexicalScores(postings)
        self._rows = None if rows is None else tf.constant(rows, tf.int32)
        self._history_terms: tf.Variable | None = None
        if history is not None:
            self._history_terms = tf.Variable(history.terms, trainable=False, name="history_terms")
        self._scored = tf.function(
            self._score, input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2
        )

    def query_terms(self, raw: RawBatch) -> tf.Tensor:
        """Returns terms `[batch, n]` int32, -1 at the end, for raw query features."""
        if self.history is not None:
            return self.encode(self.history.inputs(raw))
        return self._terms(tf.strings.join([raw[name] for name in self._texts], " "))

    def encode(self, tokens: Tokens, texts: Sequence[str] | None = None) -> tf.Tensor:
        """Returns terms as `query_terms` does, for queries that have been read already.

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
        return tf.stack([found.listed, share], axis=1)

    def at(self, rows: RowArray) -> "LexicalMember":
        """The member that scores candidates at these rows as those of the whole corpus."""
        return LexicalMember(self.spec, self.postings, self.history, rows=rows)

    def take(self, rows: RowArray) -> "LexicalMember":
        """The member over some of its candidates, numbered anew.

        Args:
            rows: `[n]` rows; -1 stands for a candidate without text.
        """
        known = rows >= 0
        postings = self.postings.take(rows[known])
        if not known.all():
            k1, b = postings.k1, postings.b
            empty = bm25.build_postings([""] * int((~known).sum()), k1=k1, b=b)
            places = [np.flatnonzero(known), np.flatnonzero(~known)]
            postings = bm25.joined([postings, empty], places)
        return self._with(postings)

    def with_texts(self, rows: RowArray, raw: Mapping[str, NDArray[Any]]) -> "LexicalMember":
        """The member with the texts of new candidates, and of those whose texts changed.

        Args:
            rows: `[n]` rows of these candidates.
            raw: their raw features.
        """
        texts = loading.joined_texts(raw, self.spec.candidate.features) or []
        others = np.setdiff1d(np.arange(self.postings.num_candidates), rows)
        fresh = bm25.build_postings(texts, k1=self.postings.k1, b=self.postings.b)
        return self._with(bm25.joined([self.postings.take(others), fresh], [others, rows]))

    def _with(self, postings: Postings) -> "LexicalMember":
        history = self.history
        if history is not None:
            place = {term: number for number, term in enumerate(postings.terms)}
            renumbered = [place.get(term, NO_TERM) for term in self.postings.terms]
            # The last place is that of -1.
            terms = np.array([*renumbered, NO_TERM], np.int32)[history.terms]
            history = HistoryTerms(history.inputs, terms, history.length)
        return LexicalMember(self.spec, postings, history)

    def save(self, assets: Assets, directory: Path) -> None:
        """Writes everything that `load_lexical_member` needs into an existing directory."""
        length = None if self.history is None else self.history.length
        architecture = {"spec": self.spec.model_dump(mode="json"), "history_length": length}
        text = json.dumps(architecture, indent=2, sort_keys=True, ensure_ascii=False)
        (directory / ARCHITECTURE).write_text(text + "\n", encoding="utf-8")
        self.save_candidates(directory)
        identity = self.spec.candidate_id_feature
        if self.history is not None and identity is not None:
            name = identity.vocabulary_name
            write_assets(Assets({name: assets.vocabulary(name)}, {}), directory)

    def save_candidates(self, directory: Path) -> None:
        """Writes the files that depend on the corpus."""
        self.postings.save(directory)
        if self.history is not None:
            np.save(directory / HISTORY_TERMS, self.history.terms, allow_pickle=False)


def text_names(side: Side) -> list[str]:
    """Names of the text features of a side."""
    return [feature.name for feature in side.features if isinstance(feature, TextFeature)]


def heaviest_terms(postings: Postings, most: int) -> NDArray[np.int32]:
    """The terms that weigh most in each candidate's text.

    Args:
        postings: of the corpus.
        most: number of terms.

    Returns:
        `[num_candidates, most]` terms, the largest impact first, then in their order; -1 at the
        end of a shorter text.
    """
    of_posting = np.repeat(np.arange(len(postings.terms)), postings.frequencies)
    order = np.lexsort((of_posting, -postings.impacts, postings.rows))
    rows = postings.rows[order]
    lengths = np.bincount(rows, minlength=postings.num_candidates)
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    heavy = rank < most
    terms = np.full((postings.num_candidates, most), NO_TERM, np.int32)
    terms[rows[heavy], rank[heavy]] = of_posting[order][heavy]
    return terms


def load_lexical_member(directory: Path) -> LexicalMember:
    """Rebuilds a saved member.

    Raises:
        MissingArtifact: a file is not there.
        CorruptArtifact: a file cannot be read, or the parts do not fit.
    """
    path = directory / ARCHITECTURE
    try:
        architecture = json.loads(path.read_text(encoding="utf-8"))
        spec = FeatureSpec.model_validate(architecture["spec"])
        length = architecture["history_length"]
        postings = load_postings(directory, "Train the pre-ranker again.")
        history = None
        if length is not None:
            assets = load_assets(directory)
            terms = _history_terms(directory / HISTORY_TERMS, spec, assets, len(postings.terms))
            history = HistoryTerms(history_inputs(spec, assets), terms, int(length))
    except FileNotFoundError as cause:
        raise MissingArtifact(
            f"{cause.filename}: is missing; train the pre-ranker first."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. Train it again.") from cause
    return LexicalMember(spec, postings, history)


def _history_terms(
    path: Path, spec: FeatureSpec, assets: Assets, num_terms: int
) -> NDArray[np.int32]:
    identity = spec.candidate_id_feature
    num_tokens = NUM_SPECIAL_ROWS
    if identity is not None:
        num_tokens += len(assets.vocabulary(identity.vocabulary_name))
    terms = load_array(path)
    fits = terms.dtype == np.int32 and terms.ndim == 2 and len(terms) == num_tokens
    if not fits or not ((terms >= NO_TERM) & (terms < num_terms)).all():
        raise CorruptArtifact(
            f"{path}: is {terms.dtype} of shape {terms.shape}; expected int32 of {num_tokens} "
            f"tokens, with terms from {NO_TERM} up to {num_terms - 1}. Train the pre-ranker again."
        )
    return terms


def copy_lexical_member(member: LexicalMember, source: Path, destination: Path) -> None:
    """Writes a member whose candidates have changed, beside copies of what does not change.

    Args:
        member: the member.
        source: the directory that it was loaded from.
        destination: a directory that does not exist yet.
    """
    destination.mkdir()
    shutil.copy2(source / ARCHITECTURE, destination / ARCHITECTURE)
    member.save_candidates(destination)
    if member.history is not None:
        shutil.copy2(source / STATISTICS, destination / STATISTICS)
        shutil.copytree(source / VOCABULARIES, destination / VOCABULARIES)
