"""Queries of a working directory, written as preprocessing writes them and read one by one."""

import io
import math

import pytest

from pipelines.transforms.column_cells import rows_as_table
from pipelines.transforms.sharded_output import write_parquet
from tests.fixtures.tiny import tiny_spec
from tfrs_twotower.artifacts import seal, shard_of
from tfrs_twotower.data.known_queries import KnownQuery, read_known_query, schema_of
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import DataError, FeatureSpecError, MissingArtifact
from tfrs_twotower.specs import FeatureSpec

NUM_SHARDS = 3
ROWS = [
    ("K00001", ("b", "c"), "Oslo", ("x", "y"), 3.5, ("c", "b"), None),
    ("K00002", (), "", (), math.nan, (), None),
    ("ü 3", (), "Århus", ("x",), -1.0, ("c",), None),
]


@pytest.fixture(scope="module")
def spec():
    data = tiny_spec().model_dump(mode="json")
    data["query"]["features"] = [
        {"name": "town", "kind": "categorical"},
        {"name": "topics", "kind": "multi_categorical"},
        {"name": "age", "kind": "numeric"},
        {"name": "history", "kind": "history"},
        {"name": "hour", "kind": "timestamp"},
    ]
    return parse(FeatureSpec, data, "spec", FeatureSpecError)


@pytest.fixture
def workdir(tmp_path, spec):
    directory = tmp_path / "preprocessed"
    directory.mkdir()
    schema = schema_of(spec.query.features)
    for shard in range(NUM_SHARDS):
        stream = io.BytesIO()
        rows = [row for row in ROWS if shard_of(row[0], NUM_SHARDS) == shard]
        write_parquet(schema, stream, rows_as_table(rows, schema))
        path = directory / f"queries-{shard:05d}-of-{NUM_SHARDS:05d}.parquet"
        path.write_bytes(stream.getvalue())
    seal(
        directory,
        kind="preprocessed",
        spec_fingerprint="s",
        config_fingerprint="c",
        parents={},
        counts={},
    )
    return tmp_path


def test_a_query_has_its_features_and_what_it_has_seen(workdir):
    assert read_known_query(workdir, "K00001") == KnownQuery(
        "K00001",
        {"town": "Oslo", "topics": ["x", "y"], "age": 3.5, "history": ["c", "b"], "hour": None},
        ["b", "c"],
    )
    assert read_known_query(workdir, "ü 3").values["town"] == "Århus"
    blank = read_known_query(workdir, "K00002")
    assert math.isnan(blank.values.pop("age"))
    assert blank.values == {"town": "", "topics": [], "history": [], "hour": None}


@pytest.mark.parametrize(
    ("query_id", "hint"), [("k00001", "K00001"), ("K00003", "K0000"), ("nobody at all", None)]
)
def test_an_unknown_query(workdir, query_id, hint):
    meant = rf" \(did you mean '{hint}" if hint else " among"
    with pytest.raises(DataError, match=f"there is no query '{query_id}'{meant}.*--set"):
        read_known_query(workdir, query_id)


def test_a_working_directory_without_queries(workdir):
    for path in (workdir / "preprocessed").glob("queries-*"):
        path.unlink()
    with pytest.raises(MissingArtifact, match=r"an earlier version .* Run `twotower preprocess`"):
        read_known_query(workdir, "K00001")
    with pytest.raises(MissingArtifact, match=r"elsewhere: has no preprocessed/, .*--workdir"):
        read_known_query(workdir / "elsewhere", "K00001")
