"""`twotower tune`, killed on its way, against one that nobody disturbed."""

import json

import pytest
import yaml

from tests.e2e.command_line import init_library, kill_when, twotower

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
OPTIONS = (
    "--trials", "4", "--seed", "3", "--set", "training.epochs=3",
    "--set", "training.batch_size=64", "--set", "preprocess.num_shards=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return init_library(tmp_path_factory.mktemp("library"))


def tuned(run, workdir, out):
    return twotower("tune", run, "--workdir", workdir, "--out", out, *OPTIONS, "--json")


def kill_in_the_third_trial(run, workdir, out):
    """`kill -9` while it trains; a part of the search is on disk then."""
    begun = workdir / "tuning" / "begun.txt"
    command = ("tune", run, "--workdir", workdir, "--out", out, *OPTIONS)
    kill_when("retrieval 1 ", begun, *command)


def test_killed_or_not_it_writes_the_same_run_config_which_runs(run, tmp_path):
    whole = json.loads(tuned(run, tmp_path / "whole", tmp_path / "a").stdout)
    kill_in_the_third_trial(run, tmp_path / "killed", tmp_path / "b")
    state = json.loads((tmp_path / "killed" / "tuning" / "tuning.json").read_text())
    assert 2 <= len(state["trials"]) <= 4
    assert list((tmp_path / "b").iterdir()) == []
    tuned(run, tmp_path / "killed", tmp_path / "b")
    name = f"{whole['config'].rsplit('/', 1)[1]}"
    files = [(tmp_path / place / name).read_text() for place in "ab"]
    assert files[0] == files[1]
    assert yaml.safe_load(files[0])["training"]["epochs"] >= 3
    twotower("run", tmp_path / "a" / name, "--workdir", tmp_path / "whole", "--to", "train")
    page = (tmp_path / "whole" / "tuning" / "index.html").read_text()
    assert "retrieval 0" in page
