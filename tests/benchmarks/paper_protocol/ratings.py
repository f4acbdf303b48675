"""Explicit ratings as labelled pairs, and what is known of people and films."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NEUTRAL = 3
MAX_GENRES = 8


@dataclass(frozen=True)
class Ratings:
    """Ratings without the neutral ones. Users and items are rows of their tables, in id order."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    labels: NDArray[np.float32]
    """1 for a rating above 3, 0 for one below."""
    timestamps: NDArray[np.int64]
    user_features: dict[str, NDArray[np.object_]]
    """Strings `[num_users]` by name."""
    item_features: dict[str, NDArray[np.object_]]
    """Strings `[num_items]`, genres `[num_items, MAX_GENRES]`, by name."""


def load_ratings(directory: Path) -> Ratings:
    """Reads a set that `twotower dataset movielens-100k --out DIR` wrote.

    Steps 1 and 7 of the script: a rating of 3 is dropped, what is left is positive above 3, and
    nothing is sampled.
    """
    events = pd.read_csv(directory / "interactions.tsv", sep="\t")
    users = pd.read_csv(directory / "users.tsv", sep="\t").sort_values("user_id")
    items = pd.read_csv(directory / "items.tsv", sep="\t").sort_values("item_id")
    events = events[events["rating"] != NEUTRAL]
    genres = np.full((len(items), MAX_GENRES), "", object)
    for row, text in enumerate(items["genres"].fillna("")):
        names = text.split("|")[:MAX_GENRES]
        genres[row, : len(names)] = names
    return Ratings(
        users=_rows(users["user_id"], events["user_id"]),
        items=_rows(items["item_id"], events["item_id"]),
        labels=(events["rating"] > NEUTRAL).to_numpy().astype(np.float32),
        timestamps=events["timestamp"].to_numpy(np.int64),
        user_features={
            name: users[name].astype(str).to_numpy(object)
            for name in ("user_id", "gender", "age", "occupation")
        },
        item_features={"item_id": items["item_id"].astype(str).to_numpy(object), "genres": genres},
    )


def _rows(ids: pd.Series, wanted: pd.Series) -> NDArray[np.int32]:
    rows = pd.Index(ids).get_indexer(wanted)
    if (rows < 0).any():
        raise ValueError(f"{wanted.name}: ids that are not in their table: {wanted[rows < 0][:5]}")
    return rows.astype(np.int32)
