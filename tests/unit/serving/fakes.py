"""A bundle without training: towers that look strings up in a fixed table of vectors."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from serving.bundle.writing import BundleOptions, BundleSource, WrittenBundle, write_bundle
from tests.contracts.searcher_contract import unit_vectors
from tests.fixtures.tiny import tiny_spec
from tfrs_twotower.config import IndexConfig
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.index.build import build_index
from tfrs_twotower.index.storage import Index
from tfrs_twotower.specs import FeatureSpec

DIM = 4
IDS = [f"c{row:02d}" for row in range(25)]
VECTORS = unit_vectors(25, DIM, 0)
FEATURE_NAMES = ("color", "recent", "size")


class FakeTower(tf.Module):
    """The vector whose number is the `number` feature, modulo 25; other features are ignored."""

    def __init__(self, number: str) -> None:
        super().__init__(name="fake_tower")
        self.table = tf.Variable(VECTORS, trainable=False)
        self._number = number

    def __call__(self, raw):
        number = tf.where(tf.math.is_nan(raw[self._number]), 0.0, raw[self._number])
        at = tf.cast(tf.math.floormod(number, 25.0), tf.int32)
        return tf.gather(self.table, at)


def fake_spec() -> FeatureSpec:
    """Query features `color` (categorical), `recent` (list of 3), `size` (numeric)."""
    data = tiny_spec().model_dump(mode="json")
    data["query"]["features"] = [
        {"name": "color", "kind": "categorical"},
        {"name": "recent", "kind": "multi_categorical", "max_values": 3},
        {"name": "size", "kind": "numeric"},
    ]
    data["candidate"]["features"] = [
        {"name": "item_id", "kind": "id", "column": "item"},
        {"name": "price", "kind": "numeric"},
    ]
    return parse(FeatureSpec, data, "fake_spec", FeatureSpecError)


def fake_index(kind: str, k: int = 6) -> Index:
    built = build_index(VECTORS, VECTORS, IndexConfig(kind=kind, k=k, num_reordering_candidates=25))
    titles = [f"Title {name}" if row else "" for row, name in enumerate(IDS)]
    return Index(kind, IDS, titles, VECTORS, built.trained, built.parameters)


def write_fake_bundle(bundle: Path, kind: str = "brute_force", **changes) -> WrittenBundle:
    source = BundleSource(
        fake_spec(),
        FakeTower("size"),
        FakeTower("price"),
        changes.pop("index", None) or fake_index(kind),
        {"model": "m" * 16, "index": "i" * 16},
        "settings",
        changes.pop("pre_ranker", None),
        changes.pop("attributes", None),
    )
    options = {
        "name": bundle.name,
        "exact": False,
        "k": 6,
        "max_excluded": 4,
        "allowed_batch_sizes": (1, 4),
        "keep_versions": 2,
    }
    complete = changes.pop("complete", lambda _: {})
    return write_bundle(bundle, source, BundleOptions(**{**options, **changes}), complete)


def requests(size: int, excluded: list[list[str]], numbers: np.ndarray | None = None) -> dict:
    """Inputs of `serving_default` for `size` queries."""
    width = 1 + max((len(names) for names in excluded), default=0)
    return {
        "color": [""] * size,
        "recent": [[""] * 3] * size,
        "size": np.arange(size, dtype=np.float32) if numbers is None else numbers,
        "exclude_ids": [(["", *names] + [""] * width)[:width] for names in excluded],
    }
