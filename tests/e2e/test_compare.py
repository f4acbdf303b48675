"""`twotower compare`, killed on its way, against one that nobody disturbed."""

import json
import os

import pytest

from tests.e2e.command_line import init_library, kill_when, twotower

pytestmark = pytest.mark.e2e
NUM_CELLS = 4
OPTIONS = (
    "--seeds", "2", "--set", "training.epochs=2", "--set", "training.checkpoint_every_steps=3",
    "--set", "training.batch_size=64", "--set", "evaluate.num_bootstrap=20",
    "--set", "evaluate.num_example_queries=0", "--set", "evaluate.baselines=[popularity,ease]",
    "--set", "pre_ranking=null", "--set", "model.wide=null",
    "--set", "evaluate.ease_lambda=100", "--set", "preprocess.num_shards=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    directory = tmp_path_factory.mktemp("library")
    run = init_library(directory)
    path = directory / "grid.yaml"
    path.write_text(
        f"base: {os.path.basename(run)}\n"
        "rows:\n  as_it_is: {}\n  narrow: {set: {model.embedding_dim: 4}}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def undisturbed(grid, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    result = twotower("compare", grid, "--workdir", workdir, "--json", *OPTIONS)
    return workdir, json.loads(result.stdout)


def kill_in_the_second_seed(grid, workdir):
    """`kill -9` of the comparison alone; the seed that it had started is left to itself."""
    started = workdir / "runs" / "as_it_is" / "seed-1" / ".lock"
    command = ("compare", grid, "--workdir", workdir, *OPTIONS)
    kill_when("[1/4] as_it_is, seed 0: done", started, *command)


def without_times(workdir):
    document = json.loads((workdir / "comparison.json").read_text(encoding="utf-8"))
    del document["timings"]
    return document


def test_killed_half_way_it_ends_with_the_same_tables(grid, undisturbed, tmp_path):
    kill_in_the_second_seed(grid, tmp_path)
    assert not (tmp_path / "comparison.json").exists(), "killed too late to matter"
    again = twotower("compare", grid, "--workdir", tmp_path, *OPTIONS)
    assert "[1/4] as_it_is, seed 0: up to date" in again.stderr
    assert "[4/4] narrow, seed 1: done" in again.stderr
    expected, _ = undisturbed
    assert (tmp_path / "comparison.md").read_bytes() == (expected / "comparison.md").read_bytes()
    assert without_times(tmp_path) == without_times(expected)


def test_what_it_leaves(undisturbed):
    workdir, answer = undisturbed
    document = without_times(workdir)
    (table,) = document["tables"]
    assert [(s["run"], s["system"]) for s in table["systems"]] == [
        ("as_it_is", "retrieval"), ("narrow", "retrieval"),
        ("as_it_is", "ease"), ("as_it_is", "popularity"),
    ]  # fmt: skip
    assert all(len(entry["by_seed"]) == 2 for entry in table["systems"][0]["metrics"].values())
    assert document["runs"][1]["changes"] == {"model.embedding_dim": {"from": 64, "to": 4}}
    assert answer["leaderboards"][0]["reference"] == "as_it_is"
    page = (workdir / "index.html").read_text(encoding="utf-8")
    assert "<svg" in page
    cells = [workdir / "runs" / run / f"seed-{s}" for run in ("as_it_is", "narrow") for s in (0, 1)]
    for cell in cells:
        report = cell / "report" / "index.html"
        assert f'href="{report.relative_to(workdir)}"' in page
        assert 'href="../../../../index.html"' in report.read_text(encoding="utf-8")
    preprocessed = {os.stat(cell / "preprocessed" / "manifest.json").st_ino for cell in cells}
    assert len(preprocessed) == 1, "preprocessing ran more than once"
    assert not any((cell / "bundle").exists() or (cell / "index").exists() for cell in cells)


def test_said_again_nothing_runs(grid, undisturbed):
    workdir, _ = undisturbed
    before = (workdir / "comparison.md").read_bytes()
    again = twotower("compare", grid, "--workdir", workdir, *OPTIONS)
    assert again.stderr.count(": up to date") == NUM_CELLS
    assert (workdir / "comparison.md").read_bytes() == before


def test_a_run_that_fails_is_named_with_the_command_that_repeats_it(grid, undisturbed):
    workdir, _ = undisturbed
    bad = grid.with_name("bad.yaml")
    bad.write_text(
        grid.read_text(encoding="utf-8")
        + "  absurd: {set: {training.optimizer.learning_rate: 1.0e+30}}\n",
        encoding="utf-8",
    )
    result = twotower("compare", bad, "--workdir", workdir, *OPTIONS, code=1)
    assert "run absurd, seed 0: exit code 1. It said last:" in result.stderr
    assert "To repeat it alone: twotower run " in result.stderr
    assert "Traceback" not in result.stderr
