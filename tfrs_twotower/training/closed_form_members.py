"""The parts of the pre-ranker that are computed without training: EASE, tastes and signals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.artifacts.layout import CANDIDATE_SIGNALS, EASE_MEMBER
from tfrs_twotower.closed_form.ease import EaseFactors, binary_matrix, ease_factors
from tfrs_twotower.config import EaseMemberConfig, PreRankingConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.lookup import build_lookups, row_of_token
from tfrs_twotower.specs import NUM_SPECIAL_ROWS, FeatureSpec, taste_features
from tfrs_twotower.towers.linear_member import LinearMember, history_inputs, save_linear_member
from tfrs_twotower.towers.tastes import fit_tastes
from tfrs_twotower.training.plan import DAY_S


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


def fit_linear_member(
    spec: FeatureSpec,
    pre_ranking: PreRankingConfig,
    assets: Assets,
    corpus: Corpus,
    table: ExampleTable,
) -> LinearMember | None:
    """Fits EASE and tastes on the pairs of queries and candidates in the examples.

    Args:
        spec: the feature spec; it must have a history.
        pre_ranking: what is fitted, and how.
        assets: the vocabularies of the candidates' ids and features.
        corpus: the candidates.
        table: the examples of the window that may be learned from; repeats count once for EASE.

    Returns:
        The member, or None if neither is one.

    Raises:
        ConfigError: the corpus is too large for EASE.
        DataError: the matrix cannot be inverted.
    """
    history = candidates = np.zeros((len(corpus), 0), np.float32)
    half_lives: tuple[float | None, ...] = ()
    if pre_ranking.ease is not None:
        history, candidates = _fit_ease(pre_ranking.ease, len(corpus), table)
        half_lives = pre_ranking.ease.half_lives
    tastes = None
    tokens = taste_tokens(spec, pre_ranking, assets, corpus)
    if pre_ranking.tastes is not None and tokens:
        tastes, values = fit_tastes(
            tokens,
            table.candidate_rows,
            strength=pre_ranking.tastes.strength,
            scale=float(np.abs(candidates).max(initial=0.0)) or 1.0,
        )
        history = np.concatenate([history, values], axis=1)
        candidates = np.concatenate([candidates, values], axis=1)
    if not half_lives and tastes is None:
        return None
    rows = row_of_token(spec, assets, corpus)
    by_token = np.where(rows[:, None] >= 0, history[rows], np.float32(0.0))
    return LinearMember(history_inputs(spec, assets), half_lives, by_token, candidates, tastes)


def _fit_ease(config: EaseMemberConfig, num_candidates: int, table: ExampleTable) -> EaseFactors:
    if num_candidates > config.max_candidates:
        raise ConfigError(
            f"pre_ranking.ease: the corpus has {num_candidates:,} candidates, more than "
            f"pre_ranking.ease.max_candidates {config.max_candidates:,}: EASE inverts a matrix of "
            "that order. Raise the limit, or leave ease out."
        )
    chosen = binary_matrix(
        table.query_rows, table.candidate_rows, len(table.query_ids), num_candidates
    )
    return ease_factors(chosen, l2=config.l2, rank=config.rank)


def taste_tokens(
    spec: FeatureSpec, pre_ranking: PreRankingConfig, assets: Assets, corpus: Corpus
) -> list[tuple[str, NDArray[np.int64], int]]:
    """The categorical features whose tastes are scored, as `fit_tastes` takes them."""
    if pre_ranking.tastes is None:
        return []
    lookups = build_lookups(spec, assets)
    tokens = []
    for feature in taste_features(spec):
        number = len(assets.vocabulary(feature.vocabulary_name))
        if 2 <= number <= pre_ranking.tastes.max_values:
            raw = tf.constant(corpus.raw[feature.name])
            values = lookups[feature.vocabulary_name](raw).numpy() - NUM_SPECIAL_ROWS
            tokens.append((feature.name, values.reshape(len(corpus), -1), number))
    return tokens


@dataclass(frozen=True)
class ClosedForm:
    """The closed-form parts of the pre-ranker, fitted on one window.

    Attributes:
        linear: EASE and tastes, if they are members.
        signals: the signals of every candidate.
    """

    linear: LinearMember | None
    signals: CandidateSignals

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the scores in the weighted sum."""
        return (*(self.linear.features if self.linear else ()), *self.signals.names)

    def save(self, spec: FeatureSpec, assets: Assets, directory: Path) -> None:
        """Writes the files into the directory of the pre-ranker."""
        np.save(directory / CANDIDATE_SIGNALS, self.signals.values, allow_pickle=False)
        if self.linear is not None:
            (directory / EASE_MEMBER).mkdir(exist_ok=True)
            save_linear_member(self.linear, spec, assets, directory / EASE_MEMBER)


def fit_closed_form(
    spec: FeatureSpec,
    pre_ranking: PreRankingConfig,
    assets: Assets,
    corpus: Corpus,
    table: ExampleTable,
) -> ClosedForm:
    """Fits EASE and tastes, if they are members, and the signals on the examples of a window.

    Raises:
        ConfigError: the corpus is too large for EASE.
        DataError: the matrix of EASE cannot be inverted.
    """
    linear = fit_linear_member(spec, pre_ranking, assets, corpus, table)
    signals = candidate_signals(pre_ranking.popularity_days, table, len(corpus))
    return ClosedForm(linear, signals)
