"""The wheel works in an empty directory, away from the repository it was built from."""

import json
import os
import random
import tarfile
import zipfile

import pytest

from tests.packaging.conftest import call
from tests.packaging.fresh_process import ROOT, output_of

SHIPPED = {
    "docs/schemas": "*.json",
    "feature_specs": "*.*",
    "pipelines/configs": "*.*",
    "serving/docker": "*",
}
"""What a user is given beside the code: its directories in the repository."""
IMPORTED_FROM = """
import json
import feature_specs, pipelines, serving, tfrs_twotower
from pipelines.cli.app import app
from tfrs_twotower.config import load_run_config, spec_path
from tfrs_twotower.specs import load_spec
places = [getattr(module, "__file__", None) for module in [*sys.modules.values()]]
print(json.dumps([place for place in places if place]))
"""
SHORT = (
    "training.epochs=1",
    "training.refit=false",
    "training.batch_size=128",
    "pre_ranking=null",
    "index.kind=brute_force",
    "export.bundles=[{name: films}]",
    "evaluate.baselines=[popularity]",
    "evaluate.num_bootstrap=20",
)


def twotower(interpreter, *arguments, cwd, code=0):
    tool = interpreter.with_name("twotower")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": ""}
    return call(tool, *arguments, cwd=cwd, code=code, **quiet)


@pytest.fixture(scope="module")
def shipped():
    """Contents of the files that are shipped, by their paths in the repository."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for directory, pattern in SHIPPED.items()
        for path in (ROOT / directory).rglob(pattern)
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }


def write_movielens(directory):
    """Sixty people rate films of the genre they like with 5, in GroupLens' own files."""
    directory.mkdir()
    draw = random.Random(3)
    ratings, films, people = [], [], []
    for film in range(1, 81):
        flags = ["0"] * 19
        flags[5 if film % 2 else 8] = "1"
        films.append(f"{film}|Film {film} (1995)|01-Jan-1995|||{'|'.join(flags)}")
    for person in range(1, 61):
        people.append(f"{person}|30|F|other|12345")
        liked = [film for film in range(1, 81) if film % 2 == person % 2]
        for moment, film in enumerate(draw.sample(liked, 20)):
            ratings.append(f"{person}\t{film}\t5\t{880000000 + 100 * moment + person}")
    for name, lines in (("u.data", ratings), ("u.item", films), ("u.user", people)):
        (directory / name).write_text("\n".join(lines) + "\n", encoding="latin-1")
    return directory


def test_the_wheel_holds_every_file_of_the_rooms(wheel, files_of_the_rooms):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files_of_the_rooms


def test_the_source_distribution_holds_the_repository(sources, sdist):
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    made = {"dist", "build", "tfrs_twotower.egg-info"}
    expected = {
        path.relative_to(sources).as_posix()
        for path in sources.rglob("*")
        if path.is_file() and path.relative_to(sources).parts[0] not in made
    }
    assert expected - held == set()


def test_nothing_is_imported_from_the_repository(installed, tmp_path):
    settings = {"interpreter": str(installed), "cwd": tmp_path, "path": ()}
    places = json.loads(output_of(IMPORTED_FROM, **settings))
    site = str(installed.parents[1])
    ours = [place for place in places if f"{os.sep}tfrs_twotower{os.sep}" in place]
    assert len(ours) > 3
    assert [place for place in ours if not place.startswith(site)] == []
    rooms = tuple(f"{ROOT / name}{os.sep}" for name in ("tfrs_twotower", "serving", "pipelines"))
    assert [place for place in places if place.startswith(rooms)] == []


def test_shipped_files_are_listed_and_copied_under_the_paths_of_the_manual(
    installed, tmp_path, shipped
):
    assert len(shipped) > 25
    listed = json.loads(twotower(installed, "files", "--json", cwd=tmp_path))["files"]
    assert listed == sorted(shipped)
    twotower(installed, "files", "--out", "copies", cwd=tmp_path)
    copies = tmp_path / "copies"
    found = {path.relative_to(copies).as_posix(): path for path in copies.rglob("*")}
    assert {name: p.read_bytes() for name, p in found.items() if p.is_file()} == shipped


def test_the_demo_runs_in_an_empty_directory(installed, tmp_path):
    source = write_movielens(tmp_path / "ml-100k")
    empty = tmp_path / "empty"
    empty.mkdir()
    overrides = [word for setting in SHORT for word in ("--set", setting)]
    text = twotower(installed, "demo", "--source", source, *overrides, cwd=empty)
    workdir = empty / "build" / "demo"
    assert text.splitlines()[-1] == f"Report: {workdir / 'report' / 'index.html'}"
    assert (workdir / "report" / "index.html").stat().st_size > 20_000
    assert (workdir / "bundle" / "films" / "models.config").is_file()
    assert [path.name for path in empty.iterdir()] == ["build"]


def test_a_shipped_run_config_is_run_by_its_name(installed, tmp_path):
    what = ("run", "movielens-100k", "--workdir", "work", "--set", "training.epoch=1")
    error = twotower(installed, *what, cwd=tmp_path, code=1)
    (site,) = installed.parents[1].glob("lib/python*/site-packages")
    assert error.startswith(f"twotower: {site}/pipelines/configs/movielens_100k.yaml: ")
    assert "epoch" in error
