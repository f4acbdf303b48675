"""A planted set, from the command that makes it to the report of its run."""

import json
from pathlib import Path

import pytest

from tests.e2e.command_line import twotower

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
RUN = Path(__file__).parents[2] / "pipelines" / "configs" / "synthetic.yaml"


def test_the_planted_set_runs_as_it_is_written(tmp_path):
    sizes = ("--interactions", "20000", "--candidates", "1000", "--seed", "5")
    twotower("dataset", "synthetic", *sizes, "--out", tmp_path / "data")
    workdir = tmp_path / "run"
    data = f"data_root={tmp_path / 'data'}"
    twotower("run", RUN, "--workdir", workdir, "--set", data, "--set", "training.epochs=1")
    document = json.loads((workdir / "report" / "evaluation.json").read_text())
    assert document["leakage_check"]["verdict"] == "clean"
    recall = {
        name: system["metrics"]["recall@20"]["mean"] for name, system in document["systems"].items()
    }
    # Four choices in five are of a cluster, which popularity does not know.
    assert recall["ease"] > 1.3 * recall["popularity"]
    # Tastes change once, so the latest choices say most.
    assert recall["recent_ease"] > recall["ease"]
    assert (workdir / "bundle" / "synthetic").is_dir()
