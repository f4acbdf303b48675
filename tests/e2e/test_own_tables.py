"""A user's own three tables, through the command line, without reading code."""

import json
import re

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
    }
