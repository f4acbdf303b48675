"""What the pre-ranker takes from a window's examples without training: EASE, and signals."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrs_twotower.artifacts.layout import CANDIDATE_SIGNALS, EASE_MEMBER
from tfrs_twotower.config import PreRankingConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.example_table import ExampleTable
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.linear_member import LinearMember, save_linear_member
from tfrs_twotower.training.linear_member import fit_linear_member
from tfrs_twotower.training.signals import CandidateSignals, candidate_signals


@dataclass(frozen=True)
class ClosedForm:
    """Of one window.

    Attributes:
        linear: EASE, if it is a member.
        signals: of every candidate.
    """

    linear: LinearMember | None
    signals: CandidateSignals

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the scores that join the sum."""
        return (*(self.linear.features if self.linear else ()), *self.signals.names)

    def save(self, spec: FeatureSpec, assets: Assets, directory: Path) -> None:
        """Writes its files into the directory of the pre-ranker."""
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
    """Fits both on the examples of a window.

    Raises:
        ConfigError: the corpus is too large for EASE.
        DataError: the matrix of EASE cannot be inverted.
    """
    linear = None
    if pre_ranking.ease is not None:
        linear = fit_linear_member(spec, pre_ranking.ease, assets, corpus, table)
    signals = candidate_signals(pre_ranking.popularity_days, table, len(corpus))
    return ClosedForm(linear, signals)
