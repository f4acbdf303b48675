"""Fits the linear member of the pre-ranker: EASE of the positives, without gradient descent."""

import numpy as np

from tfrs_twotower.closed_form.ease_factors import ease_factors
from tfrs_twotower.closed_form.interactions import binary_matrix
from tfrs_twotower.config import EaseMemberConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.example_table import ExampleTable
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.history_rows import row_of_token
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.linear_member import LinearMember, history_inputs


def fit_linear_member(
    spec: FeatureSpec,
    config: EaseMemberConfig,
    assets: Assets,
    corpus: Corpus,
    table: ExampleTable,
) -> LinearMember:
    """EASE of which query chose which candidate in the examples, however often.

    Args:
        spec: the feature spec; it has a history.
        config: rank, penalty, half-lives.
        assets: the vocabulary of the candidates' ids.
        corpus: the candidates.
        table: the examples of the window that may be learned from.

    Raises:
        ConfigError: the corpus is too large.
        DataError: the matrix cannot be inverted.
    """
    num_candidates = len(corpus)
    if num_candidates > config.max_candidates:
        raise ConfigError(
            f"pre_ranking.ease: the corpus has {num_candidates:,} candidates, more than "
            f"pre_ranking.ease.max_candidates {config.max_candidates:,}: EASE inverts a matrix of "
            "that order. Raise the limit, or leave ease out."
        )
    chosen = binary_matrix(
        table.query_rows, table.candidate_rows, len(table.query_ids), num_candidates
    )
    factors = ease_factors(chosen, l2=config.l2, rank=config.rank)
    rows = row_of_token(spec, assets, corpus)
    history = np.where(rows[:, None] >= 0, factors.history[rows], np.float32(0.0))
    return LinearMember(
        history_inputs(spec, assets), config.half_lives, history, factors.candidates
    )
