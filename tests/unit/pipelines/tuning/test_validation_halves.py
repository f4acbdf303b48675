"""The data of a search: two halves of validation, and nothing of test."""

import hashlib
import shutil

import pyarrow.parquet as pq
import pytest

from pipelines.tuning.validation_halves import MOST_QUERIES, write_halves
from tests.fixtures.tiny import tiny_spec, write_tiny_preprocessed
from tfrs_twotower.artifacts import read_manifest, verify_files
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.errors import DataError
from tfrs_twotower.training import wide_weights


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny") / "preprocessed"
    write_tiny_preprocessed(directory)
    return directory


def queries(directory, split):
    spec = tiny_spec()
    return load_query_set(directory, split, spec, load_corpus(directory, spec))


def test_every_validation_query_is_in_one_half_by_its_hash(source, tmp_path):
    manifest = write_halves(source, tmp_path / "data")
    verify_files(tmp_path / "data", manifest)
    search, held_out = (queries(tmp_path / "data", split) for split in ("validation", "test"))
    every = queries(source, "validation")
    assert sorted([*search.ids, *held_out.ids]) == every.ids.tolist()
    assert (len(search), len(held_out)) == (
        manifest.counts["validation_queries"], manifest.counts["test_queries"],
    )  # fmt: skip
    for half, remainder in ((search, 0), (held_out, 1)):
        for query_id in half.ids:
            digest = hashlib.sha256(query_id.encode()).hexdigest()[:16]
            assert int(digest, 16) % 2 == remainder
    # A query has the same judgements in its half.
    place = every.ids.tolist().index(held_out.ids[0])
    assert held_out.truth.relevant[0].tolist() == every.truth.relevant[place].tolist()


def test_a_half_holds_as_many_queries_as_the_wide_part_is_measured_on():
    assert MOST_QUERIES == 2 * wide_weights.MOST_QUERIES


def test_nothing_of_the_test_window_is_read_or_written(source, tmp_path):
    """The test queries are garbage of the same size, and the result is the same."""
    whole = write_halves(source, tmp_path / "whole")
    broken = tmp_path / "broken"
    shutil.copytree(source, broken)
    for path in broken.glob("test-*"):
        path.write_bytes(b"x" * path.stat().st_size)
    found = write_halves(broken, tmp_path / "data")
    assert found.fingerprint == whole.fingerprint
    own = pq.read_table(source / "interactions-00000-of-00001.parquet")
    assert "test" in own["split"].to_pylist()
    (path,) = (tmp_path / "data").glob("interactions-*")
    log = pq.read_table(path).to_pylist()
    held_out = set(queries(tmp_path / "data", "test").ids)
    assert {event["query_id"] for event in log if event["split"] == "test"} == held_out
    known = {
        (event["query_id"], event["candidate_id"], event["timestamp"])
        for shard in source.glob("interactions-*")
        for event in pq.read_table(shard).to_pylist()
        if event["split"] != "test"
    }
    assert {(one["query_id"], one["candidate_id"], one["timestamp"]) for one in log} == known
    # Histories that hold test events, and examples of the validation window, are not there.
    assert not [*(tmp_path / "data").glob("queries-*"), *(tmp_path / "data").glob("fresh-*")]


def test_of_many_queries_a_fixed_share_is_taken(source, tmp_path):
    manifest = write_halves(source, tmp_path / "data", most=12)
    assert manifest.counts["validation_queries"] + manifest.counts["test_queries"] == 12


def test_it_is_written_once_for_one_source(source, tmp_path):
    destination = tmp_path / "data"
    write_halves(source, destination)
    written = (destination / "manifest.json").stat().st_mtime_ns
    write_halves(source, destination)
    assert (destination / "manifest.json").stat().st_mtime_ns == written
    write_halves(source, destination, most=12)
    assert (destination / "manifest.json").stat().st_mtime_ns > written
    assert read_manifest(destination, "preprocessed").counts["validation_queries"] <= 12


def test_too_few_queries_are_refused(source, tmp_path):
    with pytest.raises(DataError, match=r"has 4 validation queries.*tune needs 8 or more"):
        write_halves(source, tmp_path / "data", most=4)
    assert not (tmp_path / "data").exists()
