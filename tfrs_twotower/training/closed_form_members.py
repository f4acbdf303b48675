"""The parts of the pre-ranker in closed form: linear members, BM25 and signals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.artifacts import layout
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.config import Bm25MemberConfig, PreRankingConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import joined_texts, text_inputs
from tfrs_twotower.data.postings import NO_TERM
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.features.lookup import by_token, row_of_token
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers import lexical_member
from tfrs_twotower.towers.item_knn_member import ItemKnnMember, save_item_knn_member
from tfrs_twotower.towers.linear_member import LinearMember, history_inputs, save_linear_member
from tfrs_twotower.towers.saved_lexical_member import save_lexical_member
from tfrs_twotower.towers.taste_member import TasteMember, save_taste_member
from tfrs_twotower.training import linear_fitting
from tfrs_twotower.training.plan import DAY_S
from tfrs_twotower.training.taste_fitting import fit_taste_member


class CandidateSignals(NamedTuple):
    """Numbers about every candidate, which enter the weighted sum.

    Attributes:
        names: `log_count` for the whole window, `log_count_30d` for its last 30 days, and so on.
        values: `[num_candidates, num_signals]` float32.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]


def candidate_signals(
    days: Sequence[float | None], table: ExampleTable, num_candidates: int
) -> CandidateSignals:
    """Computes log(1 + number of examples) of each candidate in the last days of a window.

    The window ends with its latest example. Data without time have only the whole window.

    Args:
        days: one signal for each number of days; None for the whole window.
        table: the examples of the window.
        num_candidates: size of the corpus.
    """
    rows, times = table.candidate_rows, table.timestamps  # timestamps are all 0 without time
    names: list[str] = []
    values = np.zeros((num_candidates, 0), np.float32)
    for length in days:
        counted = rows
        if length is not None:
            if not times.any():
                continue
            counted = rows[times > times.max() - length * DAY_S]
        names.append("log_count" if length is None else f"log_count_{length:g}d")
        column = np.log1p(np.bincount(counted, minlength=num_candidates)).astype(np.float32)
        values = np.concatenate([values, column[:, None]], axis=1)
    return CandidateSignals(tuple(names), values)


def make_lexical_member(
    spec: FeatureSpec, config: Bm25MemberConfig, assets: Assets, corpus: Corpus
) -> lexical_member.LexicalMember:
    """Indexes the texts of the candidates; nothing is learned from examples.

    Args:
        spec: the feature spec; candidates must have text, and queries text or a history.
        config: settings of BM25, and what is taken of a history.
        assets: the vocabulary of the candidate ids.
        corpus: the candidates.
    """
    texts = joined_texts(corpus.raw, spec.candidate.features) or []
    postings = build_postings(texts, k1=config.k1, b=config.b)
    history = None
    if not text_inputs(spec.query.features):
        rows = row_of_token(spec, assets, corpus)
        terms = postings.heaviest_terms(config.history_terms)
        history = lexical_member.HistoryTerms(
            history_inputs(spec, assets),
            by_token(terms, rows, missing=NO_TERM),
            config.history_length,
        )
    return lexical_member.LexicalMember(spec, postings, history)


@dataclass(frozen=True)
class ClosedForm:
    """The closed-form parts of the pre-ranker, fitted on one window.

    Attributes:
        linear: EASE, if it is a member.
        tastes: the values that a history prefers, if they are a member.
        item_knn: the neighbours, if they are a member.
        lexical: BM25, if it is a member.
        signals: the signals of every candidate.
    """

    linear: LinearMember | None
    tastes: TasteMember | None
    item_knn: ItemKnnMember | None
    lexical: lexical_member.LexicalMember | None
    signals: CandidateSignals

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the scores in the weighted sum."""
        return (
            *(self.linear.features if self.linear else ()),
            *(self.tastes.features if self.tastes else ()),
            *(self.item_knn.features if self.item_knn else ()),
            *(self.lexical.features if self.lexical else ()),
            *self.signals.names,
        )

    def save(self, spec: FeatureSpec, assets: Assets, directory: Path) -> None:
        """Writes the files into the directory of the pre-ranker."""
        np.save(directory / layout.CANDIDATE_SIGNALS, self.signals.values, allow_pickle=False)
        if self.linear is not None:
            (directory / layout.EASE_MEMBER).mkdir(exist_ok=True)
            save_linear_member(self.linear, spec, assets, directory / layout.EASE_MEMBER)
        if self.tastes is not None:
            (directory / layout.TASTE_MEMBER).mkdir(exist_ok=True)
            save_taste_member(self.tastes, spec, assets, directory / layout.TASTE_MEMBER)
        if self.lexical is not None:
            (directory / layout.BM25_MEMBER).mkdir(exist_ok=True)
            save_lexical_member(self.lexical, assets, directory / layout.BM25_MEMBER)
        if self.item_knn is not None:
            (directory / layout.ITEM_KNN_MEMBER).mkdir(exist_ok=True)
            save_item_knn_member(self.item_knn, spec, assets, directory / layout.ITEM_KNN_MEMBER)


def fit_closed_form(
    spec: FeatureSpec,
    pre_ranking: PreRankingConfig,
    assets: Assets,
    corpus: Corpus,
    table: ExampleTable,
    lexical: lexical_member.LexicalMember | None,
    all_pairs: linear_fitting.AllPairs | None = None,
) -> ClosedForm:
    """Fits EASE, tastes and the neighbours, if they are members, and the signals on a window.

    `assets` and `lexical` know the ids of this window; for `all_pairs` see
    `linear_fitting.chosen_pairs`.

    Raises:
        ConfigError: the corpus is too large for EASE.
        DataError: the matrix of EASE cannot be inverted.
    """
    window = (assets, corpus, table, all_pairs)
    linear = tastes = item_knn = None
    if pre_ranking.ease is not None:
        linear = linear_fitting.fit_linear_member(spec, pre_ranking.ease, *window)
    if pre_ranking.tastes is not None:
        tastes = fit_taste_member(spec, pre_ranking.tastes, assets, corpus, table.candidate_rows)
    if pre_ranking.item_knn is not None:
        item_knn = linear_fitting.fit_item_knn_member(spec, pre_ranking.item_knn, *window)
    signals = candidate_signals(pre_ranking.popularity_days, table, len(corpus))
    return ClosedForm(linear, tastes, item_knn, lexical, signals)
