import json

import pytest

from pipelines.stages.synthetic import make_synthetic
from tests.fixtures.recorder import Recorder
from tfrs_twotower.errors import DataError


def make(out, **changed):
    sizes = {"interactions": 60, "candidates": 8, "queries": 5, "seed": 1, **changed}
    return make_synthetic(out, reporter=Recorder(), **sizes)


def test_the_directory_holds_the_tables_and_how_they_were_made(tmp_path):
    directory = make(tmp_path)
    assert sorted(path.name for path in directory.iterdir()) == [
        "SOURCE.json",
        *(f"{table}-00000-of-00001.parquet" for table in ("interactions", "items", "users")),
    ]
    assert json.loads((directory / "SOURCE.json").read_text()) == {
        "name": "synthetic", "licence": "CC0",
        "interactions": 60, "candidates": 8, "queries": 5, "seed": 1,
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"interactions": 0}, "--interactions is 0; it must be at least 1"),
        ({"candidates": 1}, "--candidates is 1; it must be at least 2"),
        ({"queries": 0}, "--queries is 0; it must be at least 1"),
        ({"seed": -1}, "--seed is -1; it must be at least 0"),
        ({"queries": 61}, "--interactions is 60 and --queries 61; every query needs"),
    ],
)
def test_sizes_that_cannot_be_are_refused_and_leave_the_earlier_set(tmp_path, changed, message):
    before = make(tmp_path)
    with pytest.raises(DataError, match=message):
        make(tmp_path, **changed)
    assert (before / "SOURCE.json").is_file()


def test_files_that_a_runner_loses_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.stages.synthetic.run_pipeline", lambda *rest: {})
    with pytest.raises(DataError, match="the Beam runner lost 3 of 3 files"):
        make(tmp_path)
    assert list(tmp_path.iterdir()) == []
