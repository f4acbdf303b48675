"""`twotower refresh`, `twotower rollback` and `twotower export --shards`."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.stages import order
from pipelines.stages import refresh as refresh_stage
from serving.bundle.server_files import pinned_version
from serving.refresh.changes import CorpusChanges
from tests.unit.pipelines.cli.command import twotower
from tests.unit.pipelines.init_spec.tables import shop
from tests.unit.serving.fake_versions import publish_fake


@pytest.fixture
def call(monkeypatch, capsys):
    return lambda *arguments: twotower(monkeypatch, capsys, *arguments)


@pytest.fixture
def bundle(tmp_path):
    for version in (3, 5):
        publish_fake(tmp_path / "books", version)
    return tmp_path / "books"


def test_rolling_back_and_forth(call, bundle):
    result = call("rollback", bundle)
    assert (result.code, result.out) == (0, f"{bundle}: models.config serves version 3.\n")
    assert pinned_version(bundle) == 3
    result = call("rollback", bundle, "--undo", "--json")
    assert json.loads(result.out) == {"bundle": str(bundle), "served_version": 5}
    assert call("rollback", bundle, "--to", 5, "--undo").code == 2


def test_a_rollback_that_cannot_be_is_one_line(call, bundle):
    result = call("rollback", bundle, "--to", 4)
    assert result.code == 1
    assert result.err == f"twotower: {bundle}: there is no version 4; there are 3, 5.\n"


def test_refresh_needs_something_to_do(call, bundle):
    for arguments in ((), ("--replace",), ("--withdraw", "gone.txt", "--replace")):
        result = call("refresh", bundle, *arguments)
        assert result.code == 2
        assert "--candidates" in result.err


def test_refresh_passes_on_and_prints(call, bundle, monkeypatch, tmp_path):
    changes = CorpusChanges(
        ["a", "b", "c"],
        np.array([0, 1, -1]),
        np.array([-1, 0, 1]),
        np.zeros((3, 16), np.uint8),
        np.array([1, 2]),
        4,
    )
    asked = []

    def run(bundle, candidates, withdraw, *, replace, reporter):
        asked.append((bundle, candidates, withdraw, replace))
        written = SimpleNamespace(directory=bundle / "9", version=9)
        return [SimpleNamespace(written=written, changes=changes)]

    monkeypatch.setattr(refresh_stage, "run", run)
    table = tmp_path / "new.csv"
    result = call("refresh", bundle, "--candidates", table, "--replace", "--json")
    assert asked == [(bundle, table, None, True)]
    assert json.loads(result.out) == {
        "bundles": [
            {
                "directory": str(bundle / "9"),
                "version": 9,
                "candidates": 3,
                "added": 1,
                "changed": 1,
                "withdrawn": 4,
            }
        ]
    }


def test_shards_are_a_key_of_the_config(call, monkeypatch, tmp_path):
    contexts = []

    def run_stages(context, stages, *, force=False):
        contexts.append((context, [stage.name for stage in stages], force))
        return [order.StageOutcome("export", False, 1.0, "f", context.layout.bundle)]

    monkeypatch.setattr(order, "run_stages", run_stages)
    interactions, candidates, queries = shop(tmp_path / "shop")
    made = call(
        *("init", "--interactions", interactions, "--candidates", candidates, "--json"),
        *("--queries", queries, "--out", tmp_path / "out", "--name", "laden"),
    )
    run = json.loads(made.out)["run"]
    more = ("--shards", 3, "--set", "export.keep_versions=7")
    assert call("export", run, "-w", tmp_path / "w", *more).code == 0
    ((context, names, force),) = contexts
    assert (context.config.export.shards, context.config.export.keep_versions) == (3, 7)
    assert (names, force) == (["export"], True)
    assert call("export", run, "-w", tmp_path / "w", "--shards", 0).code == 2
