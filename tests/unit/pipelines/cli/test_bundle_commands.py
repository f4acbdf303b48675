"""`twotower refresh`, `twotower rollback` and `twotower export --shards`."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.stages import refresh as refresh_stage
from serving.bundle.query import Answer
from serving.bundle.server_files import pinned_version
from serving.refresh.changes import CorpusChanges
from tests.unit.serving.fake_versions import publish_fake


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


def test_a_title_cannot_command_the_terminal(call, bundle, monkeypatch):
    answer = Answer(["a", "b"], [2.0, 1.0], ["\x1b[31m[bold]red\x9b", "caf\u00e9"], "5-abc")
    monkeypatch.setattr("serving.load_bundle", lambda directory: None)
    monkeypatch.setattr("serving.bundle.query.ask", lambda *arguments: answer)
    result = call("query", bundle, "--set", "user=1")
    assert result.code == 0
    assert "\\x1b[31m[bold]red\\x9b" in result.out
    assert not {"\x1b", "\x9b"} & set(result.out)


def test_an_error_cannot_command_the_terminal(call, bundle):
    result = call("rollback", bundle.parent / "\x1b[31mred", "--to", 4)
    assert result.code == 1
    assert "\\x1b[31mred" in result.err
    assert "\x1b" not in result.err


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
    calls = []

    def run(bundle, candidates, withdraw, *, replace, reporter):
        calls.append((bundle, candidates, withdraw, replace))
        written = SimpleNamespace(directory=bundle / "9", version=9)
        return [SimpleNamespace(written=written, changes=changes)]

    monkeypatch.setattr(refresh_stage, "run", run)
    table = tmp_path / "new.csv"
    result = call("refresh", bundle, "--candidates", table, "--replace", "--json")
    assert calls == [(bundle, table, None, True)]
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


def test_shards_are_a_key_of_the_config(call, own, stages_run, tmp_path):
    more = ("--shards", 3, "--set", "export.keep_versions=7")
    assert call("export", own.run, "-w", tmp_path / "w", *more).code == 0
    ((context, names, force),) = stages_run
    assert (context.config.export.shards, context.config.export.keep_versions) == (3, 7)
    assert (names, force) == (["export"], True)
    assert call("export", own.run, "-w", tmp_path / "w", "--shards", 0).code == 2
