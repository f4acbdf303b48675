"""A bundle without training: towers that look strings up in a fixed table of vectors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from serving.bundle.publishing import WrittenBundle
from serving.bundle.writing import write_bundle
from serving.graph.release import Release, ReleaseSettings
from tests.contracts.searcher_contract import unit_vectors
from tests.fixtures.tiny import tiny_spec
from tfrs_twotower.artifacts import Lineage, fingerprint
from tfrs_twotower.config import ExportConfig, IndexConfig
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.raw_inputs import raw_signature
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.index.build import build_index
from tfrs_twotower.index.storage import Index
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.protocol import TowerPair

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


def fake_corpus() -> Corpus:
    titles = [f"Title {name}" if row else "" for row, name in enumerate(IDS)]
    return Corpus(np.array(IDS, object), np.array(titles, object), {}, VECTORS)


def fake_index(kind: str, k: int = 6) -> Index:
    config = IndexConfig(kind=kind, k=k, num_reordering_candidates=25)
    return Index.of(fake_corpus(), build_index(VECTORS, VECTORS, config))


def fake_towers(query_tower: tf.Module | None = None) -> TowerPair:
    features = fake_spec().query.features, fake_spec().candidate.features
    query, candidate = (raw_signature(side) for side in features)
    return TowerPair(
        query_tower or FakeTower("size"),
        FakeTower("price"),
        query_inputs=query,
        candidate_inputs=candidate,
    )


def fake_release(kind: str = "brute_force", **changes) -> Release:
    """A release of fake towers; keywords are other parts, or settings of the export."""
    names = ("index", "pre_ranker", "attributes", "towers")
    parts = {name: changes.pop(name) for name in names if name in changes}
    export = {"k": 6, "max_excluded": 4, "allowed_batch_sizes": (1, 4), "keep_versions": 2}
    export = ExportConfig(**{**export, **changes})
    release = Release(
        ReleaseSettings(name="fake", exact=False, export=export, index=IndexConfig()),
        fake_towers(),
        parts.pop("index", None) or fake_index(kind),
        VECTORS[:0],
        Lineage(fingerprint(fake_spec()), "settings", {"model": "m" * 16, "index": "i" * 16}),
    )
    return replace(release, **parts)


def write_fake_bundle(bundle: Path, kind: str = "brute_force", **changes) -> WrittenBundle:
    """Publishes a fake release; `check` is given the saved model."""
    check, made_by = changes.pop("check", lambda _: {}), changes.pop("made_by", None)
    return write_bundle(bundle, fake_release(kind, **changes), check, made_by=made_by)


def requests(size: int, excluded: list[list[str]], numbers: np.ndarray | None = None) -> dict:
    """Inputs of `serving_default` for `size` queries."""
    width = 1 + max((len(names) for names in excluded), default=0)
    return {
        "color": [""] * size,
        "recent": [[""] * 3] * size,
        "size": np.arange(size, dtype=np.float32) if numbers is None else numbers,
        "exclude_ids": [(["", *names] + [""] * width)[:width] for names in excluded],
    }
