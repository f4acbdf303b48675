"""Fits tastes on the examples of a window: how often each value of a feature is chosen."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.config import TasteMemberConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.features.lookup import by_token, row_of_token
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.linear_member import history_inputs
from tfrs_twotower.towers.taste_member import TasteMember
from tfrs_twotower.training.taste_values import taste_values


def fit_taste_member(
    spec: FeatureSpec,
    config: TasteMemberConfig,
    assets: Assets,
    corpus: Corpus,
    chosen: NDArray[np.integer],
) -> TasteMember | None:
    """Counts the values of the candidates' features.

    Args:
        spec: the feature spec; it must have a history.
        config: strength, and which values count.
        assets: the vocabularies of the candidates' ids and features.
        corpus: the candidates.
        chosen: `[num_examples]` rows of the candidates of the examples that may be learned from.

    Returns:
        The member, or None if no feature has values that count.
    """
    names, values, priors = [], [], [np.ones(1, np.float32)]
    for name, of_candidates, number in taste_values(spec, config, assets, corpus):
        of_feature = distinct_values(of_candidates)
        values.append(np.where(of_feature > 0, of_feature + sum(map(len, priors)) - 1, 0))
        priors.append(shares_of_values(of_feature, chosen, number))
        names.append(name)
    if not names:
        return None
    widths = [of_feature.shape[1] for of_feature in values]
    table = np.concatenate(values, axis=1).astype(np.int32)
    return TasteMember(
        history_inputs(spec, assets),
        names,
        config.strength,
        by_token(table, row_of_token(spec, assets, corpus)),
        np.repeat(np.arange(len(names), dtype=np.int32), widths),
        np.concatenate(priors),
        table,
    )


def distinct_values(of_candidates: NDArray[np.integer]) -> NDArray[np.int64]:
    """Numbers of the values from 1 on, each once in a row; 0 for none.

    Args:
        of_candidates: `[num_candidates, width]` see `Values`.
    """
    ordered = np.sort(np.maximum(of_candidates.astype(np.int64) + 1, 0), axis=1)
    repeats = ordered[:, 1:] == ordered[:, :-1]
    ordered[:, 1:][repeats] = 0
    return ordered


def shares_of_values(
    values: NDArray[np.integer], chosen: NDArray[np.integer], number: int
) -> NDArray[np.float32]:
    """`[number]` share of the examples that have each value, with one more example of each.

    Args:
        values: `[num_candidates, width]` as `distinct_values` gives them.
        chosen: `[num_examples]` rows of the candidates.
        number: of values.
    """
    times_chosen = np.bincount(chosen, minlength=len(values))
    row, column = np.nonzero(values)
    weights = times_chosen[row] / np.count_nonzero(values, axis=1)[row]
    counts = 1.0 + np.bincount(values[row, column] - 1, weights, minlength=number)
    return (counts / counts.sum()).astype(np.float32)
