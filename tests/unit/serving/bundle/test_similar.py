"""Neighbours of a candidate: by hand, and by the vectors inside every kind of model."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.bundle.loading import TITLES_NAME
from serving.bundle.similar import similar_candidates
from serving.bundle.versions import shard_name
from tests.reference.search import search
from tests.unit.serving import fakes
from tfrs_twotower.artifacts import seal
from tfrs_twotower.config import IndexConfig
from tfrs_twotower.errors import BundleError, CorruptArtifact
from tfrs_twotower.index.build import build_index
from tfrs_twotower.index.storage import Index

TURNS = {"000904": 0, "b": 30, "c": 90, "d": 20, "e": 180, "f": 30}
"""Directions of vectors in degrees; cosines with that of 000904 can be told from them."""


def vector(turn, length):
    return [length * np.cos(np.radians(turn)), length * np.sin(np.radians(turn))]


def publish(bundle, version, ids, k=3, identity="x", lengths=None):
    """The files that are read of a version, without a model."""
    directory = bundle / str(version)
    (directory / "refresh").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"")
    vectors = [vector(TURNS[id_], (lengths or {}).get(id_, 1.0)) for id_ in ids]
    np.save(directory / "refresh" / "vectors.npy", np.array(vectors, np.float32))
    titles = [f"Title {id_}" for id_ in ids]
    pq.write_table(pa.table({"candidate_id": ids, "title": titles}), directory / TITLES_NAME)
    seal(
        directory,
        kind="bundle",
        spec_fingerprint="s",
        config_fingerprint="c",
        parents={},
        counts={"candidates": len(ids), "k": k, "version": version},
        details={"model_version": f"{version}-{identity}"},
    )
    return directory


def test_the_nearest_by_angle_whatever_their_length(tmp_path):
    publish(tmp_path / "shop", 7, list(TURNS), lengths={"c": 100.0, "d": 0.1, "000904": 3.0})
    answer = similar_candidates(tmp_path / "shop", "000904")
    assert answer.candidate_ids == ["d", "b", "f"]  # equal ones by id
    expected = [np.cos(np.radians(20)), np.cos(np.radians(30)), np.cos(np.radians(30))]
    assert answer.scores == pytest.approx(expected, abs=1e-6)
    assert answer.titles == ["Title d", "Title b", "Title f"]
    assert (answer.model_version, answer.warnings) == ("7-x", [])
    longest = similar_candidates(tmp_path / "shop" / "7", "000904", 5)
    assert longest.candidate_ids == ["d", "b", "f", "c", "e"]
    assert longest.scores[3:] == pytest.approx([0.0, -1.0], abs=1e-6)


def test_a_vector_of_nothing_is_like_nothing(tmp_path):
    publish(tmp_path / "shop", 7, ["b", "c", "d"], lengths={"d": 0.0})
    assert similar_candidates(tmp_path / "shop", "d").scores == [0.0, 0.0]
    assert similar_candidates(tmp_path / "shop", "b").candidate_ids == ["c", "d"]


def test_excluded_ones_are_left_out_and_unknown_ones_said(tmp_path):
    publish(tmp_path / "shop", 7, list(TURNS))
    answer = similar_candidates(tmp_path / "shop", "b", 2, ["f", "904"])
    assert answer.candidate_ids == ["d", "000904"]
    meant = "904 is not in the corpus (did you mean '000904'?): it leaves nothing out."
    assert answer.warnings == [meant]


def test_what_cannot_be_asked(tmp_path):
    publish(tmp_path / "shop", 7, list(TURNS))
    with pytest.raises(BundleError, match=r"904 is not in the corpus \(did you mean '000904'\?\)"):
        similar_candidates(tmp_path / "shop", "904")
    with pytest.raises(BundleError, match="k=6 was requested; the corpus has 5 other candidates"):
        similar_candidates(tmp_path / "shop", "b", 6)
    (tmp_path / "shop" / "7" / TITLES_NAME).write_bytes(b"")
    with pytest.raises(CorruptArtifact, match="does not match its checksum"):
        similar_candidates(tmp_path / "shop", "b")


def test_shards_are_one_corpus_and_the_served_version_counts(tmp_path):
    ids = list(TURNS)
    shards = [tmp_path / shard_name("shop", shard, 2) for shard in range(2)]
    for shard, path in enumerate(shards):
        publish(path, 3, ids[:1], identity="old")
        publish(path, 7, ids[shard::2], k=3 - shard)
    assert similar_candidates(tmp_path / "shop", "b").candidate_ids == ["f", "d"]
    assert similar_candidates(shards[0], "b").candidate_ids == ["f", "d"]
    publish(shards[1], 9, ids[1::2])
    with pytest.raises(BundleError, match="its shards serve different versions: 7-x, 9-x"):
        similar_candidates(tmp_path / "shop", "b")


@pytest.mark.parametrize("kind", ["brute_force", "ivf", "scann", "int8"])
def test_every_kind_of_model_without_files_beside_it(kind, tmp_path):
    parts = {"kind": kind}
    if kind == "int8":
        config = IndexConfig(kind="brute_force", vectors="int8", k=6, target_overlap=0.5)
        built = build_index(fakes.VECTORS, fakes.VECTORS, config)
        parts = {"index": Index.of(fakes.fake_corpus(), built)}
    written = fakes.write_fake_bundle(tmp_path / "shop", **parts)
    answer = similar_candidates(tmp_path / "shop", "c03", 4)
    ids, scores = search(fakes.VECTORS[3], fakes.VECTORS, fakes.IDS, ["c03"], 4)
    assert answer.candidate_ids == ids
    assert answer.scores == pytest.approx(scores, abs=0.02 if kind == "int8" else 1e-5)
    assert answer.model_version.startswith(f"{written.version}-")
