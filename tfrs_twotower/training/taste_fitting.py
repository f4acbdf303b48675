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
    """Counts the values of the candidates' categorical features, and words of their texts.

    Args:
        spec: the feature spec; it must have a history.
        config: strength, the largest number of values, and the number of words.
        assets: the vocabularies of the candidates' ids and features.
        corpus: the candidates.
        chosen: `[num_examples]` rows of the candidates of the examples that may be learned from.

    Returns:
        The member, or None if no feature has two values, and no more than the largest number.
    """
    found = taste_values(spec, config, assets, corpus)
    if not found:
        return None
    shares = [shares_of_values(feature.of_candidates, chosen, feature.number) for feature in found]
    firsts = np.cumsum([0, *(feature.number for feature in found)])
    numbered = [
        np.where(feature.of_candidates > 0, feature.of_candidates + first, 0)
        for feature, first in zip(found, firsts, strict=False)
    ]
    widths = [feature.of_candidates.shape[1] for feature in found]
    table = np.concatenate(numbered, axis=1).astype(np.int32)
    return TasteMember(
        history_inputs(spec, assets),
        [feature.feature for feature in found],
        config.strength,
        by_token(table, row_of_token(spec, assets, corpus)),
        np.repeat(np.arange(len(found), dtype=np.int32), widths),
        np.concatenate([np.ones(1, np.float32), *shares]),
        table,
    )


def shares_of_values(
    values: NDArray[np.integer], chosen: NDArray[np.integer], number: int
) -> NDArray[np.float32]:
    """`[number]` share of the examples that have each value, with one more example of each.

    Args:
        values: `[num_candidates, width]` as `taste_values` gives them.
        chosen: `[num_examples]` rows of the candidates.
        number: of values.
    """
    times_chosen = np.bincount(chosen, minlength=len(values))
    row, column = np.nonzero(values)
    weights = times_chosen[row] / np.count_nonzero(values, axis=1)[row]
    counts = 1.0 + np.bincount(values[row, column] - 1, weights, minlength=number)
    return (counts / counts.sum()).astype(np.float32)
