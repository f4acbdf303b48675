"""A user's own three tables, through the command line, without reading code."""

import json
import re

import pyarrow.parquet as pq
import pytest

from tests.e2e.command_line import init_library, twotower
from tests.e2e.own_tables import NUM_BOOKS

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("library")
    run = init_library(directory)
    workdir = directory / "work"
    done = twotower("run", run, "--workdir", workdir, "--set", "training.epochs=8")
    (directory / "console.txt").write_text(done.stderr, encoding="utf-8")
    return run, workdir


def test_the_console_shows_our_lines_only(finished_run):
    """None of TensorFlow's or of another library in C++."""
    _, workdir = finished_run
    lines = (workdir.parent / "console.txt").read_text(encoding="utf-8").splitlines()
    foreign = re.compile(
        r"[IWEF]\d{4} |\d{4}-\d\d-\d\d |WARNING|.*(oneDNN|cuda|absl)", re.IGNORECASE
    )
    assert [line for line in lines if foreign.match(line)] == []
    assert any("train" in line for line in lines)


def test_the_report_is_there_and_beats_popularity(finished_run):
    _, workdir = finished_run
    report = json.loads((workdir / "report" / "evaluation.json").read_text(encoding="utf-8"))
    assert report["leakage_check"]["verdict"] == "clean"
    recall = {
        name: system["metrics"]["recall@20"]["mean"] for name, system in report["systems"].items()
    }
    assert recall["retrieval"] > 1.2 * recall["popularity"]
    assert "<svg" in (workdir / "report" / "index.html").read_text(encoding="utf-8")


def test_the_bundle_answers_and_excludes(finished_run):
    _, workdir = finished_run
    bundle = workdir / "bundle" / "library"
    first = json.loads(twotower("query", bundle, "--k", 5, "--json").stdout)
    assert len(first["candidate_ids"]) == 5
    second = json.loads(
        twotower("query", bundle, "--k", 5, "--json", "--exclude", first["candidate_ids"][0]).stdout
    )
    assert second["candidate_ids"][:4] == first["candidate_ids"][1:5]
    assert first["model_version"] == second["model_version"]


def test_a_reader_is_asked_for_by_id(finished_run):
    _, workdir = finished_run
    bundle = workdir / "bundle" / "library"
    reader, loans = loans_of_a_reader(workdir)
    answer = json.loads(twotower("query", bundle, "--query-id", reader, "--json").stdout)
    assert answer["candidate_ids"]
    assert not loans & set(answer["candidate_ids"]), "only new books count here"
    typo = twotower("query", bundle, "--query-id", f"{reader}x", code=1)
    assert f"there is no query '{reader}x' (did you mean '{reader}" in typo.stderr


def test_the_neighbours_of_a_book(finished_run):
    _, workdir = finished_run
    answer = twotower("query", workdir / "bundle" / "library", "--similar", "B-003", "--json")
    found = json.loads(answer.stdout)
    assert found.keys() == {"candidate_ids", "scores", "model_version"}
    assert "B-003" not in found["candidate_ids"]
    assert found["scores"] == sorted(found["scores"], reverse=True)
    typo = twotower("query", workdir / "bundle" / "library", "--similar", "b-3", code=1)
    assert "b-3 is not in the corpus" in typo.stderr


def loans_of_a_reader(workdir):
    """A reader and all books that it has borrowed."""
    tables = sorted((workdir / "preprocessed").glob("interactions-*.parquet"))
    reader = pq.read_table(tables[0])["query_id"][0].as_py()
    rows = [row for path in tables for row in pq.read_table(path).to_pylist()]
    return reader, {row["candidate_id"] for row in rows if row["query_id"] == reader}


def test_excluding_everything_invents_nothing(finished_run):
    _, workdir = finished_run
    everything = [
        option for number in range(NUM_BOOKS) for option in ("--exclude", f"B-{number:03d}")
    ]
    answer = twotower("query", workdir / "bundle" / "library", "--json", *everything)
    assert json.loads(answer.stdout)["candidate_ids"] == []


def test_a_second_run_does_nothing(finished_run):
    run, workdir = finished_run
    again = twotower("run", run, "--workdir", workdir, "--set", "training.epochs=8", "--json")
    assert all(stage["skipped"] for stage in json.loads(again.stdout)["stages"])


def test_a_misspelt_key_is_suggested(finished_run):
    run, workdir = finished_run
    result = twotower("run", run, "--workdir", workdir, "--set", "trainig.epochs=3", code=1)
    assert "did you mean 'training'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_preflight_says_that_a_stock_server_loads_an_exact_bundle(finished_run):
    _, workdir = finished_run
    verdict = twotower("preflight", workdir / "bundle" / "library", "--json")
    assert json.loads(verdict.stdout) == {
        "server": "stock",
        "loads": True,
        "missing_ops": [],
        "python_imports": [],
        "file_access": [],
    }
