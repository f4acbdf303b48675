"""The tables of the wide part of the first stage: a linear model and counts, fitted on a window."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.config import WideConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.features.lookup import by_token, row_of_token
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.training import linear_fitting
from tfrs_twotower.training.closed_form_members import candidate_signals
from tfrs_twotower.training.elsa import elsa_vectors


@dataclass(frozen=True)
class WideTables:
    """What a window says of every candidate, by token of its id.

    Attributes:
        half_lives: of the linear model; empty without one.
        history: `[2 + vocabulary size, rank]` F.
        vectors: `[2 + vocabulary size, rank]` H.
        counts: `[2 + vocabulary size, num_counts]` log-counts, less their mean over the corpus,
            which changes no order and keeps the vectors short.
    """

    half_lives: tuple[float | None, ...]
    history: NDArray[np.float32]
    vectors: NDArray[np.float32]
    counts: NDArray[np.float32]


def fit_tables(
    spec: FeatureSpec,
    config: WideConfig,
    assets: Assets,
    corpus: Corpus,
    table: ExampleTable,
    all_pairs: linear_fitting.AllPairs | None = None,
    *,
    seed: int,
) -> WideTables:
    """Fits the linear model and counts the examples of a window; repeats of a pair count once.

    Args:
        spec: the feature spec; for a linear model it has a history.
        config: what is fitted.
        assets: the vocabulary of the candidate ids.
        corpus: the candidates.
        table: the examples of the window.
        all_pairs: see `linear_fitting.chosen_pairs`.
        seed: of `elsa`.

    Raises:
        ConfigError: the corpus is too large for the model.
        DataError: the matrix cannot be inverted.
    """
    rows = row_of_token(spec, assets, corpus)
    counts = candidate_signals(config.popularity_days, table, len(corpus)).values
    centred = by_token(counts, rows) - counts.mean(axis=0)
    if config.kind == "none":
        none = np.zeros((len(rows), 0), np.float32)
        return WideTables((), none, none, centred)
    chosen = linear_fitting.chosen_pairs(config, table, len(corpus), all_pairs)
    history, vectors = _linear_vectors(config, chosen, seed)
    return WideTables(config.half_lives, by_token(history, rows), by_token(vectors, rows), centred)


def _linear_vectors(
    config: WideConfig, chosen: sparse.csr_matrix, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """F and H of every candidate, `[num_candidates, rank]`."""
    if config.kind == "elsa":
        rank = min(config.rank, chosen.shape[1])
        vectors = elsa_vectors(chosen, rank=rank, epochs=config.epochs, seed=seed)
        return vectors, vectors
    factors = linear_fitting.linear_factors(
        config, config.kind, config.rank, chosen, section="model.wide"
    )
    return factors.history, factors.candidates
