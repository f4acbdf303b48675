import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.datasets import fetch, medquad, online_retail, sources
from pipelines.datasets.fetch import Dataset, dataset_names, prepare
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
    with pytest.raises(
        DataError,
        match=r"medquad: no source given.*github\.com/abachaa/MedQuAD and add --source PATH",
    ):
        prepare("medquad", tmp_path, None, Recorder())


def test_a_source_must_be_a_directory(tmp_path):
    with pytest.raises(DataError, match="found nothing, expected a zip archive or a dir"):
        prepare("medquad", tmp_path, tmp_path / "absent", Recorder())


@pytest.mark.parametrize("module", [medquad, online_retail], ids=lambda one: one.ABOUT.name)
def test_the_measured_tables_are_copied_and_checked(module, tmp_path, monkeypatch):
    name, source = module.ABOUT.name, tmp_path / "source"
    source.mkdir()
    for file in module.MEASURED.checksums:
        (source / file).write_text(file)
    with pytest.raises(DataError, match=r"sha256 is .*, expected .*get the original again"):
        prepare(name, tmp_path / "data", source, Recorder())
    sums = {file: hashlib.sha256(file.encode()).hexdigest() for file in module.MEASURED.checksums}
    monkeypatch.setattr(module, "MEASURED", replace(module.MEASURED, checksums=sums))
    written = prepare(name, tmp_path / "data", source, Recorder())
    assert json.loads((written / "SOURCE.json").read_text())["sha256"] == sums
    assert {path.name for path in written.iterdir()} == {*sums, "SOURCE.json"}


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_a_publishers_archive_needs_no_unpacking(tmp_path):
    members = {
        "ml-1m/ratings.dat": "1::1193::5::978300760\n",
        "ml-1m/movies.dat": "1193::Heat (1995)::Crime\n",
        "ml-1m/users.dat": "1::F::1::10::48067\n",
    }
    archive = zipped(tmp_path / "ml-1m.zip", members)
    written = prepare("movielens-1m", tmp_path / "data", archive, Recorder())
    assert (written / "items.tsv").read_text().splitlines()[1] == "1193\tHeat\t1995\tCrime"


@pytest.mark.usefixtures("toy")
def test_an_archive_writes_nothing_outside(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"../../outside.txt": "x", "/absolute.txt": "x"})
    with sources.unpacked(archive) as directory:
        names = {path.name for path in directory.rglob("*.txt")}
    assert names == {"outside.txt", "absolute.txt"}
    assert not directory.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_an_archive_that_grows_without_end_is_refused(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "a.zip", {"zeros": "0" * 10_000})
    monkeypatch.setattr(sources, "LARGEST_ARCHIVE", 9_999)
    with pytest.raises(DataError, match="unpacks to 10,000 bytes, allowed are at most 9,999"):
        prepare("medquad", tmp_path / "data", archive, Recorder())


def test_a_damaged_archive_is_named(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"a": "some text" * 100})
    content = bytearray(archive.read_bytes())
    content[35] ^= 255
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip: this zip archive cannot be unpacked"):
        prepare("medquad", tmp_path / "data", archive, Recorder())
