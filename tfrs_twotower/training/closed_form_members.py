"""The parts of the pre-ranker that are computed without training: EASE, neighbours and signals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.artifacts.layout import CANDIDATE_SIGNALS, EASE_MEMBER, ITEM_KNN_MEMBER
from tfrs_twotower.closed_form.ease import LinearFactors, binary_matrix, ease_factors
from tfrs_twotower.closed_form.neighbours import cosine_neighbours
from tfrs_twotower.config import (
    EaseMemberConfig,
    ItemKnnMemberConfig,
    LinearModelConfig,
    PreRankingConfig,
)
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.lookup import row_of_token
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.item_knn_member import (
    ItemKnnMember,
    neighbours_by_token,
    save_item_knn_member,
)
from tfrs_twotower.towers.linear_member import LinearMember, history_inputs, save_linear_member
from tfrs_twotower.training.plan import DAY_S

_FOLLOWED = 5


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


def linear_factors(
    config: LinearModelConfig,
    kind: str,
    rank: int,
    table: ExampleTable,
    num_candidates: int,
    *,
    section: str,
) -> LinearFactors:
    """Fits EASE or RDLAE on the pairs of queries and candidates in the examples.

    Args:
        config: penalty and limits.
        kind: `ease` or `rdlae`.
        rank: dimension of the vectors.
        table: the examples of the window that may be learned from; repeats count once.
        num_candidates: size of the corpus.
        section: of the config, for the message.

    Raises:
        ConfigError: the corpus is too large.
        DataError: the matrix cannot be inverted.
    """
    if num_candidates > config.max_candidates:
        way_out = "set kind: elsa" if section == "model.wide" else "leave it out"
        raise ConfigError(
            f"{section}: the corpus has {num_candidates:,} candidates, more than "
            f"{section}.max_candidates {config.max_candidates:,}: {kind.upper()} inverts a matrix "
            f"of that order. Raise the limit, or {way_out}."
        )
    is_rdlae = kind == "rdlae"
    return ease_factors(
        chosen_matrix(table, num_candidates),
        l2=config.l2,
        rank=rank,
        dropout=config.dropout if is_rdlae else 0.0,
        diagonal=config.diagonal if is_rdlae else 0.0,
    )


def chosen_matrix(table: ExampleTable, num_candidates: int) -> sparse.csr_matrix:
    """`[num_queries, num_candidates]` of zeros and ones; repeats count once."""
    return binary_matrix(
        table.query_rows, table.candidate_rows, len(table.query_ids), num_candidates
    )


def fit_linear_member(
    spec: FeatureSpec,
    config: EaseMemberConfig,
    assets: Assets,
    corpus: Corpus,
    table: ExampleTable,
) -> LinearMember:
    """Fits EASE or RDLAE for a spec with a history; see `linear_factors`."""
    factors = linear_factors(
        config, config.kind, config.rank, table, len(corpus), section="pre_ranking.ease"
    )
    rows = row_of_token(spec, assets, corpus)
    history = np.where(rows[:, None] >= 0, factors.history[rows], np.float32(0.0))
    return LinearMember(
        history_inputs(spec, assets), config.half_lives, history, factors.candidates
    )


def next_choices(
    histories: Sequence[NDArray[np.int32]],
    chosen_rows: NDArray[np.integer],
    row_of_token: NDArray[np.int32],
    num_candidates: int,
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """What was chosen, and what had been chosen last before it.

    Args:
        histories: tokens `[num_examples, width]` of each history, the most recent event first.
        chosen_rows: `[num_examples]` rows of the corpus.
        row_of_token: `[2 + vocabulary size]` rows of the corpus, -1 for none.
        num_candidates: size of the corpus.

    Returns:
        `[num_examples, num_candidates]` both: ones, and 2^-p for the event at place p of a history,
        of which the first `_FOLLOWED` count.
    """
    size = len(chosen_rows)
    shape = (size, num_candidates)
    ones = np.ones(size, np.float32)
    chosen = sparse.csr_matrix((ones, (np.arange(size), chosen_rows)), shape=shape)
    parts = [row_of_token[history[:, :_FOLLOWED]] for history in histories]
    latest = np.concatenate(parts, axis=1)
    ages = np.concatenate([np.arange(part.shape[1]) for part in parts])
    example, place = np.nonzero(latest >= 0)
    weights = (0.5 ** ages[place]).astype(np.float32)
    rows = latest[example, place]
    before = sparse.csr_matrix((weights, (example, rows)), shape=shape)
    return chosen, before


def fit_item_knn_member(
    spec: FeatureSpec,
    config: ItemKnnMemberConfig,
    assets: Assets,
    corpus: Corpus,
    table: ExampleTable,
) -> ItemKnnMember:
    """Finds the neighbours of every candidate, by the examples of a window."""
    number = min(config.neighbours, max(1, len(corpus) - 1))
    rows = row_of_token(spec, assets, corpus)
    matrix, before = chosen_matrix(table, len(corpus)), None
    if config.pairs == "next":
        histories = [table.tokens[feature.name] for feature in spec.histories]
        matrix, before = next_choices(histories, table.candidate_rows, rows, len(corpus))
    similar = cosine_neighbours(matrix, number, shrink=config.shrink, before=before)
    return ItemKnnMember(
        history_inputs(spec, assets),
        config.last,
        config.half_lives,
        *neighbours_by_token(similar, rows, number),
    )


@dataclass(frozen=True)
class ClosedForm:
    """The closed-form parts of the pre-ranker, fitted on one window.

    Attributes:
        linear: EASE, if it is a member.
        signals: the signals of every candidate.
        item_knn: the neighbours, if they are a member.
    """

    linear: LinearMember | None
    signals: CandidateSignals
    item_knn: ItemKnnMember | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the scores in the weighted sum."""
        return (
            *(self.linear.features if self.linear else ()),
            *(self.item_knn.features if self.item_knn else ()),
            *self.signals.names,
        )

    def save(self, spec: FeatureSpec, assets: Assets, directory: Path) -> None:
        """Writes the files into the directory of the pre-ranker."""
        np.save(directory / CANDIDATE_SIGNALS, self.signals.values, allow_pickle=False)
        if self.linear is not None:
            (directory / EASE_MEMBER).mkdir(exist_ok=True)
            save_linear_member(self.linear, spec, assets, directory / EASE_MEMBER)
        if self.item_knn is not None:
            (directory / ITEM_KNN_MEMBER).mkdir(exist_ok=True)
            save_item_knn_member(self.item_knn, spec, assets, directory / ITEM_KNN_MEMBER)


def fit_closed_form(
    spec: FeatureSpec,
    pre_ranking: PreRankingConfig,
    assets: Assets,
    corpus: Corpus,
    table: ExampleTable,
) -> ClosedForm:
    """Fits EASE and the neighbours, if they are members, and the signals on a window.

    Raises:
        ConfigError: the corpus is too large for EASE.
        DataError: the matrix of EASE cannot be inverted.
    """
    linear = None
    if pre_ranking.ease is not None:
        linear = fit_linear_member(spec, pre_ranking.ease, assets, corpus, table)
    item_knn = None
    if pre_ranking.item_knn is not None:
        item_knn = fit_item_knn_member(spec, pre_ranking.item_knn, assets, corpus, table)
    signals = candidate_signals(pre_ranking.popularity_days, table, len(corpus))
    return ClosedForm(linear, signals, item_knn)
