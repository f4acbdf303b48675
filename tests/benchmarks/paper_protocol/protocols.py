"""Three ways to split ratings and to compute the two mean-label features.

The row sets of `leaky` and `honest_random` come from the same draw; only the features, the rows
without a positive, and the choice of validation rows differ.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.paper_protocol.label_means import (
    left_out_means,
    means_of_others,
    means_of_the_split,
)
from tests.benchmarks.paper_protocol.ratings import Ratings

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.2

Rows = NDArray[np.int64]


class Part(NamedTuple):
    """Rows of the ratings with their two features."""

    rows: Rows
    means: NDArray[np.float64]
    """`[rows, 2]`: mean label of the user, mean label of the item."""


class Prepared(NamedTuple):
    """What a model is fitted on, stopped by, and measured on."""

    fit: Part
    validation: Part
    test: Part


def leaky(ratings: Ratings, seed: int) -> Prepared:
    """Steps 2 to 6 of the script, to the letter.

    Random split; means inside each split, answers included; users without a positive in a split
    leave it; MinMax fitted again on test and applied to both; validation is the part of the
    training rows with the highest item ids.
    """
    train_rows, test_rows = _random_split(len(ratings.labels), seed)
    train, test = _leaky_part(ratings, train_rows), _leaky_part(ratings, test_rows)
    low, high = test.means.min(axis=0), test.means.max(axis=0)
    train, test = (Part(part.rows, (part.means - low) / (high - low)) for part in (train, test))
    cut = int(len(train.rows) * (1.0 - VALIDATION_SHARE))
    fit = Part(train.rows[:cut], train.means[:cut])
    return Prepared(fit, Part(train.rows[cut:], train.means[cut:]), test)


def honest_random(ratings: Ratings, seed: int) -> Prepared:
    """The same random split; no row's features know its own label or any label of test."""
    train_rows, test_rows = _random_split(len(ratings.labels), seed)
    cut = int(len(train_rows) * (1.0 - VALIDATION_SHARE))
    return _honest(ratings, train_rows[:cut], train_rows[cut:], test_rows)


def honest_temporal(ratings: Ratings, seed: int) -> Prepared:
    """Test is the last fifth by time, validation the last fifth of what comes before.

    Users that were not seen before stay in test, with the prior as their mean and the unknown id.
    There is one such split; the seed is left to the models.
    """
    del seed
    train_rows, test_rows = _temporal_split(ratings, np.arange(len(ratings.labels)), TEST_SHARE)
    fit_rows, validation_rows = _temporal_split(ratings, train_rows, VALIDATION_SHARE)
    return _honest(ratings, fit_rows, validation_rows, test_rows)


PROTOCOLS: dict[str, Callable[[Ratings, int], Prepared]] = {
    "leaky": leaky,
    "honest, random split": honest_random,
    "honest, temporal split": honest_temporal,
}


def _random_split(num_rows: int, seed: int) -> tuple[Rows, Rows]:
    order = np.random.default_rng(seed).permutation(num_rows)
    cut = num_rows - int(np.ceil(num_rows * TEST_SHARE))
    return order[:cut], order[cut:]


def _temporal_split(ratings: Ratings, rows: Rows, share: float) -> tuple[Rows, Rows]:
    times = ratings.timestamps[rows]
    boundary = np.sort(times)[int(len(times) * (1.0 - share))]
    return rows[times < boundary], rows[times >= boundary]


def _leaky_part(ratings: Ratings, rows: Rows) -> Part:
    positives = np.bincount(ratings.users[rows], ratings.labels[rows])
    rows = rows[positives[ratings.users[rows]] > 0]
    rows = rows[np.lexsort((ratings.users[rows], ratings.items[rows]))]
    labels = ratings.labels[rows]
    means = [means_of_the_split(keys[rows], labels) for keys in (ratings.users, ratings.items)]
    return Part(rows, np.stack(means, axis=1))


def _honest(ratings: Ratings, fit: Rows, validation: Rows, test: Rows) -> Prepared:
    """Fit rows know the other fit rows, validation rows know fit, test rows fit and validation."""
    labels, sides = ratings.labels, (ratings.users, ratings.items)

    def outside(rows: Rows, known: Rows) -> Part:
        means = [means_of_others(keys[rows], keys[known], labels[known]) for keys in sides]
        return Part(rows, np.stack(means, axis=1))

    own = np.stack([left_out_means(keys[fit], labels[fit]) for keys in sides], axis=1)
    before_test = np.concatenate([fit, validation])
    return Prepared(Part(fit, own), outside(validation, fit), outside(test, before_test))
