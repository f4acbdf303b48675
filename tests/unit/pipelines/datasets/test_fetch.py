import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.datasets import fetch
from pipelines.datasets.fetch import Dataset, dataset_names, prepare
from pipelines.datasets.published_tables import MEDQUAD, ONLINE_RETAIL
from pipelines.datasets.sources import About
from tests.fixtures.recorder import Recorder
from tfrs_twotower.errors import DataError

REPOSITORY = Path(__file__).parents[4]


def test_names():
    assert dataset_names() == (
        *("completejourney", "medquad", "movielens-100k", "movielens-1m"),
        *("msmarco-passage", "online-retail"),
    )


@pytest.mark.parametrize("name", [*dataset_names(), "synthetic"])
def test_each_set_has_a_spec_and_a_run_config(name):
    stem = name.replace("-", "_")
    assert (REPOSITORY / "feature_specs" / f"{stem}.yaml").is_file()
    assert (REPOSITORY / "pipelines" / "configs" / f"{stem}.yaml").is_file()


@pytest.fixture
def toy(monkeypatch):
    def convert(source, out, cache, reporter):
        (out / "items.tsv").write_text("item_id\n1\n")
        if source is not None and source.name == "broken":
            raise DataError("the source is broken")
        return {"raw.txt": "0" * 64}

    about = About("toy-set", "CC0", "somebody", "raw.txt")
    monkeypatch.setitem(fetch.DATASETS, "toy-set", Dataset(about, convert))


@pytest.mark.usefixtures("toy")
def test_writes_the_set_and_its_source_record(tmp_path):
    recorder = Recorder()
    path = prepare("toy-set", tmp_path / "data", None, recorder)
    assert path == tmp_path / "data" / "toy_set"
    assert json.loads((path / "SOURCE.json").read_text()) == {
        "name": "toy-set",
        "licence": "CC0",
        "attribution": "somebody",
        "sha256": {"raw.txt": "0" * 64},
    }
    again = prepare("toy_set", tmp_path / "data", None, recorder)  # by the name of its spec
    assert again == path
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["toy_set"]
    assert recorder.messages == ["toy-set: CC0"] * 2


@pytest.mark.usefixtures("toy")
def test_a_failed_conversion_leaves_the_earlier_one(tmp_path):
    path = prepare("toy-set", tmp_path, None, Recorder())
    with pytest.raises(DataError, match="the source is broken"):
        prepare("toy-set", tmp_path, tmp_path / "broken", Recorder())
    assert (path / "SOURCE.json").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["toy_set"]


@pytest.mark.usefixtures("toy")
def test_refuses_to_overwrite_its_source(tmp_path):
    (tmp_path / "toy_set").mkdir()
    with pytest.raises(DataError, match="is also where the converted set would be written"):
        prepare("toy-set", tmp_path, tmp_path / "toy_set", Recorder())


def test_unknown_name(tmp_path):
    with pytest.raises(DataError, match=r"no such set \(did you mean 'movielens-100k'\?\); allow"):
        prepare("movilens-100k", tmp_path, None, Recorder())


def test_a_source_is_needed(tmp_path):
    with pytest.raises(DataError, match=r"medquad: no source given.*--source DIR with corpus"):
        prepare("medquad", tmp_path, None, Recorder())


def test_a_source_must_be_a_directory(tmp_path):
    with pytest.raises(DataError, match="found nothing, expected a directory"):
        prepare("medquad", tmp_path, tmp_path / "absent", Recorder())


@pytest.mark.parametrize("dataset", [MEDQUAD, ONLINE_RETAIL], ids=lambda one: one.about.name)
def test_copied_sets_are_checked(dataset, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for name in dataset.checksums:
        (source / name).write_text(name)
    sums = {name: hashlib.sha256(name.encode()).hexdigest() for name in dataset.checksums}
    assert replace(dataset, checksums=sums).convert(source, out, tmp_path, Recorder()) == sums
    assert {p.name for p in out.iterdir()} == set(dataset.checksums)
    with pytest.raises(DataError, match=r"sha256 is .*, expected .*get the original again"):
        dataset.convert(source, out, tmp_path, Recorder())
