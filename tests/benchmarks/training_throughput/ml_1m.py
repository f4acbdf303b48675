"""Data of the shape of MovieLens-1M, drawn at random, and IntTowers of the paper's shape on it.

Fields and layers are those of the authors' code for ML-1M (Li et al., CIKM 2022): of a user the
id, gender, age, occupation and mean rating; of a film the id, genres and mean rating; fields of 32
numbers; layers of 300, 300 and 128 with ReLU and dropout 0.3. Heads are 32 x 64 there, and 4 x 64
in the authors' MindSpore version. Their batch normalisation has no counterpart here.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfrs_twotower.config import IntTowerConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.tower import Tower, Towers

NUM_GENRES, MAX_GENRES = 18, 6
CATEGORIES = {"gender": 2, "age": 7, "occupation": 21}
RATING = {"mean": 3.5, "std": 0.5, "min": 1.0, "max": 5.0, "count": 1, "missing": 0}


@dataclass(frozen=True)
class Size:
    """How much there is; by default as in ML-1M, of whose ratings 575,281 are 4 or 5."""

    num_queries: int = 6040
    num_candidates: int = 3706
    num_examples: int = 575_281


@dataclass(frozen=True)
class World:
    """Towers and what they are trained on."""

    towers: Towers
    table: ExampleTable
    corpus_tokens: dict[str, tf.Tensor]
    counts: np.ndarray
    """`[num_candidates]` examples of each candidate."""


def make_world(
    size: Size, num_heads: int, *, dropout: float = 0.3, table_rows: int = 0, seed: int = 1
) -> World:
    """Draws examples, and builds fresh towers.

    Args:
        size: of the data.
        num_heads: heads of each query layer and of a candidate, of 64 numbers each.
        dropout: of the layers.
        table_rows: makes the query id's vocabulary at least so long: a table most of whose rows
            no example touches.
        seed: of everything random.
    """
    random = np.random.default_rng(seed)
    ids = {
        "user_id": [f"u{row}" for row in range(max(size.num_queries, table_rows))],
        "movie_id": [f"m{row}" for row in range(size.num_candidates)],
        "genres": [f"genres{value}" for value in range(NUM_GENRES)],
    }
    ids |= {name: [f"{name}{v}" for v in range(count)] for name, count in CATEGORIES.items()}
    numeric = {"query.mean_rating": RATING, "candidate.mean_rating": RATING}
    config = IntTowerConfig(
        kind="inttower",
        embedding_dim=32,
        body="dense",
        activation="relu",
        dropout=dropout,
        num_query_heads=num_heads,
        num_candidate_heads=num_heads,
        head_dim=64,
    )
    towers = build_towers(_spec(), config, Assets(ids, {"numeric": numeric}), seed=seed)

    def draw(name: str, count: int) -> np.ndarray:
        return random.choice(np.array(ids[name]), count)

    queries = {name: draw(name, size.num_queries) for name in CATEGORIES}
    queries["user_id"] = np.array(ids["user_id"][: size.num_queries])
    queries["mean_rating"] = random.normal(3.5, 0.5, size.num_queries).astype(np.float32)
    genres = draw("genres", size.num_candidates * MAX_GENRES).reshape(-1, MAX_GENRES)
    candidates = {
        "movie_id": np.array(ids["movie_id"]),
        "genres": np.where(random.random(genres.shape) < 0.3, genres, ""),
        "mean_rating": random.normal(3.5, 0.5, size.num_candidates).astype(np.float32),
    }
    query_rows = _skewed(random, size.num_queries, size.num_examples, 1.0)
    candidate_rows = _skewed(random, size.num_candidates, size.num_examples, 1.2)
    tokens = _tokens(towers.query, queries)
    table = ExampleTable(
        tokens={name: values.numpy()[query_rows] for name, values in tokens.items()},
        query_ids=np.array([name.encode() for name in queries["user_id"]], object),
        query_rows=query_rows,
        candidate_rows=candidate_rows,
        timestamps=np.zeros(size.num_examples, np.int64),
        weights=np.ones(size.num_examples, np.float32),
    )
    counts = np.bincount(candidate_rows, minlength=size.num_candidates)
    return World(towers, table, _tokens(towers.candidate, candidates), counts)


def _spec() -> FeatureSpec:
    return FeatureSpec.model_validate(
        {
            "name": "like_ml_1m",
            "interactions": {
                "path": "none.csv",
                "query_id": "user",
                "candidate_id": "movie",
                "split": "part",
            },
            "queries": {"path": "none.csv", "id": "user"},
            "candidates": {"path": "none.csv", "id": "movie"},
            "query": {
                "features": [
                    {"name": "user_id", "kind": "id", "column": "user"},
                    *({"name": name, "kind": "categorical"} for name in CATEGORIES),
                    {"name": "mean_rating", "kind": "numeric"},
                ]
            },
            "candidate": {
                "features": [
                    {"name": "movie_id", "kind": "id", "column": "movie"},
                    {"name": "genres", "kind": "multi_categorical", "max_values": MAX_GENRES},
                    {"name": "mean_rating", "kind": "numeric"},
                ]
            },
            "split": {"kind": "given"},
        },
    )


def _skewed(random: np.random.Generator, num: int, size: int, spread: float) -> np.ndarray:
    weights = random.lognormal(0.0, spread, num)
    return random.choice(num, size, p=weights / weights.sum()).astype(np.int32)


def _tokens(tower: Tower, raw: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return tower.inputs({name: tf.constant(values) for name, values in raw.items()})
