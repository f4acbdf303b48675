"""Measures every model on one prepared protocol."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tests.benchmarks.paper_protocol.fitting import fit, logistic_regression
from tests.benchmarks.paper_protocol.models import PairModel, Variant
from tests.benchmarks.paper_protocol.pairs import tokenise
from tests.benchmarks.paper_protocol.protocols import Prepared
from tests.benchmarks.paper_protocol.ratings import Ratings
from tfrs_twotower.metrics import auc, gauc, log_loss

TWO_FEATURES = "logistic regression, the 2 means only"


class Scores(NamedTuple):
    """One model, measured once."""

    protocol: str
    model: str
    seed: int
    auc: float
    gauc: float
    log_loss: float
    best_epoch: int


class Facts(NamedTuple):
    """What a prepared protocol consists of."""

    fit_rows: int
    validation_rows: int
    test_rows: int
    positive_share_of_test: float
    unknown_user_share_of_test: float
    """Rows of test whose user has no row in fit: the towers see the unknown id."""
    new_user_share_of_test: float
    """Rows of test whose user has no row in validation either: their mean is the prior."""
    unknown_item_share_of_validation: float
    unknown_item_share_of_test: float
    user_share_without_gauc: float
    """Users of test with one label only."""


def facts_of(ratings: Ratings, prepared: Prepared) -> Facts:
    """Counts a prepared protocol."""
    fit_rows, validation, test = (part.rows for part in prepared)
    users, items, labels = ratings.users, ratings.items, ratings.labels

    def unknown(
        keys: NDArray[np.int32], rows: NDArray[np.int64], known: NDArray[np.int64] = fit_rows
    ) -> float:
        return float(1.0 - np.isin(keys[rows], keys[known]).mean())

    return Facts(
        len(fit_rows),
        len(validation),
        len(test),
        float(labels[test].mean()),
        unknown(users, test),
        unknown(users, test, np.concatenate([fit_rows, validation])),
        unknown(items, validation),
        unknown(items, test),
        gauc(users[test], labels[test], np.zeros(len(test)))[1],
    )


def measure(
    ratings: Ratings,
    protocol: str,
    prepared: Prepared,
    seed: int,
    variants: Mapping[str, Variant],
) -> Iterator[Scores]:
    """Fits the two-feature regression and all variants; yields each as it is done."""
    rows = prepared.test.rows
    users, labels = ratings.users[rows], ratings.labels[rows]

    def judge(model: str, logits: NDArray[np.floating], best_epoch: int) -> Scores:
        loss = float(log_loss(labels, expit(logits)).mean())
        values = auc(labels, logits), gauc(users, labels, logits)[0], loss
        return Scores(protocol, model, seed, *values, best_epoch)

    weights = logistic_regression(prepared.fit.means, ratings.labels[prepared.fit.rows])
    yield judge(TWO_FEATURES, prepared.test.means @ weights[:-1] + weights[-1], 0)
    data = tokenise(ratings, prepared)
    for name, variant in variants.items():
        model = PairModel(variant, data, seed)
        best_epoch = fit(model, data.fit, data.validation, seed)
        yield judge(name, model.logits(data.test).numpy(), best_epoch)
