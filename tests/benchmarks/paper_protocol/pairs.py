"""Labelled pairs as tokens of the project's towers."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tests.benchmarks.paper_protocol.protocols import Part, Prepared
from tests.benchmarks.paper_protocol.ratings import MAX_GENRES, Ratings
from tfrs_twotower.config import PlainTowerConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.build import build_towers

SPEC = FeatureSpec.model_validate(
    {
        "name": "paper_protocol",
        "interactions": {
            "path": "interactions.tsv",
            "query_id": "user_id",
            "candidate_id": "item_id",
            "timestamp": {"column": "timestamp", "unit": "s"},
            "label": "rating",
        },
        "queries": {"path": "users.tsv", "id": "user_id"},
        "candidates": {"path": "items.tsv", "id": "item_id"},
        "query": {
            "features": [
                {"name": "user_id", "kind": "id"},
                {"name": "gender", "kind": "categorical"},
                {"name": "age", "kind": "categorical"},
                {"name": "occupation", "kind": "categorical"},
                {"name": "user_mean_rating", "kind": "numeric"},
            ]
        },
        "candidate": {
            "features": [
                {"name": "item_id", "kind": "id"},
                {"name": "genres", "kind": "multi_categorical", "max_values": MAX_GENRES},
                {"name": "item_mean_rating", "kind": "numeric"},
            ]
        },
        "split": {"kind": "temporal"},
    }
)


class Pairs(NamedTuple):
    """Pairs of one part; everything has one row for each pair."""

    query: Tokens
    candidate: Tokens
    users: tf.Tensor
    items: tf.Tensor
    labels: tf.Tensor
    """float32."""


class PairData(NamedTuple):
    """A prepared protocol, tokenised once for all models."""

    assets: Assets
    fit: Pairs
    validation: Pairs
    test: Pairs


def tokenise(ratings: Ratings, prepared: Prepared) -> PairData:
    """Learns vocabularies and deviations on the fit rows, and tokenises all parts."""
    assets = _assets(ratings, prepared.fit)
    towers = build_towers(SPEC, PlainTowerConfig(embedding_dim=2), assets, seed=0)

    def pairs(part: Part) -> Pairs:
        users, items = ratings.users[part.rows], ratings.items[part.rows]
        means = part.means.astype(np.float32)
        query = {name: values[users] for name, values in ratings.user_features.items()}
        candidate = {name: values[items] for name, values in ratings.item_features.items()}
        return Pairs(
            towers.query.inputs({**query, "user_mean_rating": means[:, 0]}),
            towers.candidate.inputs({**candidate, "item_mean_rating": means[:, 1]}),
            tf.constant(users),
            tf.constant(items),
            tf.constant(ratings.labels[part.rows]),
        )

    return PairData(assets, *(pairs(part) for part in prepared))


def _assets(ratings: Ratings, fit: Part) -> Assets:
    users, items = np.unique(ratings.users[fit.rows]), np.unique(ratings.items[fit.rows])
    vocabularies = {
        **{name: _distinct(values[users]) for name, values in ratings.user_features.items()},
        **{name: _distinct(values[items]) for name, values in ratings.item_features.items()},
    }
    names = ("query.user_mean_rating", "candidate.item_mean_rating")
    numeric = {
        name: {"mean": float(values.mean()), "std": float(values.std())}
        for name, values in zip(names, fit.means.T, strict=True)
    }
    return Assets(vocabularies, {"numeric": numeric})


def _distinct(values: NDArray[np.object_]) -> list[str]:
    return sorted(set(values.ravel()) - {""})
