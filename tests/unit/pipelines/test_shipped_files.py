from pathlib import Path

import pytest

from pipelines import shipped_files as shipped
from tests.packaging.fresh_process import ROOT
from tfrs_twotower.config import load_run_config, spec_path
from tfrs_twotower.errors import ConfigError

NAMES = shipped.run_config_names()


def test_every_file_lies_where_the_repository_has_it():
    files = shipped.shipped_files()
    assert {path for path in files if path.startswith("pipelines/configs/")} == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "pipelines/configs").iterdir()
    }
    assert all(place.read_bytes() == (ROOT / path).read_bytes() for path, place in files.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_copied_run_config_finds_its_spec_and_editors_find_the_schemas(name, tmp_path):
    copies = shipped.copy_shipped_files([name], tmp_path)
    directories = ("feature_specs", "pipelines/configs")
    expected = {
        f"{path}/{file}" for path in directories for file in (f"{name}.yaml", "schema.json")
    }
    assert {path.relative_to(tmp_path).as_posix() for path in copies} == expected
    config = tmp_path / "pipelines" / "configs" / f"{name}.yaml"
    assert spec_path(load_run_config(config), config) in copies


def test_words_choose_files_and_an_unknown_word_is_refused():
    docker = shipped.shipped_files(["docker", "schemas"])
    assert {Path(path).parts[1] for path in docker} == {"docker", "schemas"}
    with pytest.raises(ConfigError, match=r"files movielens_10k: no shipped .*'movielens_100k'\?"):
        shipped.shipped_files(["docker", "movielens_10k"])


def test_what_is_there_is_left_alone_or_nothing_is_copied(tmp_path):
    first = shipped.copy_shipped_files(["medquad"], tmp_path)
    before = {path: path.stat().st_mtime_ns for path in first}
    assert shipped.copy_shipped_files(["medquad"], tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in first} == before
    mine = tmp_path / "feature_specs" / "medquad.yaml"
    mine.write_text("name: mine\n")
    with pytest.raises(ConfigError, match=rf"found other content in {mine}\. Nothing was copied"):
        shipped.copy_shipped_files(["medquad", "docker"], tmp_path)
    assert mine.read_text() == "name: mine\n"
    assert not (tmp_path / "serving").exists()


def test_a_name_is_a_shipped_run_config_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = ROOT / "pipelines" / "configs" / "movielens_100k.yaml"
    Path("movielens_100k").mkdir()  # such as the directory of the data
    for name in ("movielens_100k", "movielens-100k", "MovieLens-100K"):
        assert shipped.find_run_config(Path(name)) == expected
    Path("synthetic").write_text("spec: mine.yaml\n")
    assert shipped.find_run_config(Path("synthetic")) == Path("synthetic")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("movielens_10k", r"did you mean 'movielens_100k'\?\); allowed: the path of a run config"),
        ("pipelines/configs/medquad.yaml", "no such file. A run config that comes .* suffix: medq"),
        ("medquad.yaml", "`twotower files medquad --out .` copies it here"),
    ],
)
def test_what_is_neither_is_refused(path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        shipped.find_run_config(Path(path))


def test_another_missing_file_is_left_to_the_reader(tmp_path):
    path = tmp_path / "mine_run.yaml"
    assert shipped.find_run_config(path) == path
