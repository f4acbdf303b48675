"""`twotower refresh`, `rollback`, `versions`, `verify` and `export --shards`."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.stages import refresh as refresh_stage
from serving.bundle.integrity import write_checksums
from serving.bundle.query import Answer
from serving.bundle.server_files import pinned_version
from serving.refresh.changes import CorpusChanges
from tests.unit.serving.fake_versions import key_pair, publish_fake
from tfrs_twotower.data import known_queries
from tfrs_twotower.data.known_queries import KnownQuery


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


def test_all_versions_are_verified_and_each_fault_is_a_line(call, bundle):
    """Version 3 is as an earlier release published it, without a list of checksums."""
    write_checksums(bundle / "5")
    result = call("verify", bundle)
    assert result.code == 1
    assert result.out == f"{bundle / '5'}: 3 files, 0.0 MB, all as published; not signed.\n"
    assert result.err.startswith(f"{bundle / '3'}: has no SHA256SUMS: an earlier release of this")
    assert call("verify", bundle / "5").code == 0
    (bundle / "5" / "\x1b[31mred").touch()
    result = call("verify", bundle)
    assert result.code == 1
    assert f"{bundle / '5'}/\\x1b[31mred: is not listed in SHA256SUMS" in result.err
    found = json.loads(call("verify", bundle, "--json").out)
    assert [found["ok"], *("problem" in version for version in found["versions"])] == [0, 1, 1]
    assert call("verify", bundle.parent / "films").err.endswith("WORKDIR/bundle/NAME.\n")


def test_a_key_verifies_who_published(call, bundle, tmp_path, monkeypatch):
    key, public = key_pair(tmp_path, "ours")
    for version in (3, 5):
        shutil.rmtree(bundle / str(version))
        directory = publish_fake(bundle, version, name="books")
        if version == 5:
            monkeypatch.setenv("TWOTOWER_SIGNING_KEY", str(key))
        write_checksums(directory)
    monkeypatch.delenv("TWOTOWER_SIGNING_KEY")
    assert "5: 4 files, 0.0 MB, all as published; signed; `--key`" in call("verify", bundle).out
    result = call("verify", bundle, "--key", public)
    assert result.code == 1
    assert "4 files, 0.0 MB, all as published; signed with the given key." in result.out
    assert f"{bundle / '3'}: is not signed, and a key was given" in result.err
    result = call("verify", bundle / "5", "--key", public, "--json")
    assert (result.code, json.loads(result.out)["versions"][0]["signature"]) == (0, "valid")
    assert call("verify", bundle / "5", "--key", key).code == 1


def test_a_title_cannot_command_the_terminal(call, bundle, monkeypatch):
    answer = Answer(["a", "b"], [2.0, 1.0], ["\x1b[31m[bold]red\x9b", "caf\u00e9"], "5-abc")
    monkeypatch.setattr("serving.load_bundle", lambda directory: None)
    monkeypatch.setattr("serving.bundle.query.ask", lambda *arguments: answer)
    result = call("query", bundle, "--set", "user=1")
    assert result.code == 0, result.err
    assert "\\x1b[31m[bold]red\\x9b" in result.out
    assert not {"\x1b", "\x9b"} & set(result.out)


def test_unknown_ids_are_said_beside_the_answer(call, bundle, monkeypatch):
    said = ["904 is not in the corpus (did you mean '000904'?): it leaves nothing out."]
    answer = Answer(["000905"], [2.0], ["Emma"], "5-abc", said)
    asked = []
    monkeypatch.setattr("serving.bundle.similar.similar_candidates", lambda *a: asked.append(a))
    monkeypatch.setattr("serving.load_bundle", lambda directory: None)
    monkeypatch.setattr("serving.bundle.query.ask", lambda *arguments: answer)
    result = call("query", bundle, "--exclude", "904", "--json")
    assert (result.code, result.err) == (0, f"twotower: {said[0]}\n")
    expected = {"candidate_ids": ["000905"], "scores": [2.0], "model_version": "5-abc"}
    assert json.loads(result.out) == expected
    assert asked == []


def test_neighbours_are_printed_as_an_answer(call, bundle, monkeypatch):
    def similar(*asked):
        assert asked == (bundle, "000904", 2, ["b"])
        return Answer(["c", "d"], [0.5, 0.25], ["Emma", "Persuasion"], "5-abc")

    monkeypatch.setattr("serving.bundle.similar.similar_candidates", similar)
    arguments = ("query", bundle, "--similar", "000904", "--k", 2, "--exclude", "b")
    rows = [line.split() for line in call(*arguments).out.splitlines()]
    assert rows[1:3] == [["1", "c", "0.5000", "Emma"], ["2", "d", "0.2500", "Persuasion"]]
    expected = {"candidate_ids": ["c", "d"], "scores": [0.5, 0.25], "model_version": "5-abc"}
    assert json.loads(call(*arguments, "--json").out) == expected


def test_options_that_exclude_each_other(call, bundle):
    for others in (("--set", "a=b"), ("--query-id", "u"), ("--allow", "a=b"), ("--deny", "a=b")):
        result = call("query", bundle, "--similar", "x", *others)
        assert result.code == 2
        assert "cannot be given with --similar" in result.err
    assert call("query", bundle, "--workdir", bundle).code == 2


def test_a_known_query_is_looked_for_where_the_bundle_stands(call, bundle, tmp_path, monkeypatch):
    own = tmp_path / "work" / "bundle" / "books"
    publish_fake(own, 3)
    for place in (own, own / "3"):
        result = call("query", place, "--query-id", "K00001")
        assert result.code == 1
        missing = f"twotower: {tmp_path / 'work'}: has no preprocessed/, from which the features"
        assert result.err.startswith(missing)
    result = call("query", own, "--query-id", "K00001", "--workdir", tmp_path / "other")
    assert result.err.startswith(f"twotower: {tmp_path / 'other'}: has no preprocessed/")
    known = KnownQuery("K00001", {"town": "Oslo"}, ["x"])
    read = []
    monkeypatch.setattr(known_queries, "read_known_query", lambda *a: read.append(a) or known)
    monkeypatch.setattr("serving.load_bundle", lambda directory: directory)
    answer, asked = Answer([], [], [], "3-abc"), []
    monkeypatch.setattr("serving.bundle.query.ask", lambda *a: asked.extend(a) or answer)
    call("query", own, "--query-id", " K00001 ", "--set", "age=7")
    assert read == [(tmp_path / "work", "K00001")]
    assert asked == [own, {"age": "7"}, None, [], [], [], known]


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
        np.array([2]),
        np.array([1]),
        4,
        ["e"],
    )
    calls = []

    def run(bundle, candidates, withdraw, *, replace, reporter, overrides):
        calls.append((bundle, candidates, withdraw, replace, overrides))
        return [SimpleNamespace(bundle=bundle, written=None, changes=changes, served=9)]

    monkeypatch.setattr(refresh_stage, "run", run)
    table = tmp_path / "new.csv"
    table.write_text("item\na\n")
    limit = "export.gate.max_shrink=0.5"
    result = call("refresh", bundle, "--candidates", table, "--replace", "--json", "--set", limit)
    assert calls == [(bundle, table, None, True, [limit])]
    assert json.loads(result.out) == {
        "published": False,
        "bundles": [
            {
                "directory": str(bundle / "9"),
                "version": 9,
                "candidates": 3,
                "added": 1,
                "changed": 1,
                "withdrawn": 4,
                "unknown": ["e"],
            }
        ],
    }


def test_shards_are_a_key_of_the_config(call, own, stages_run, tmp_path):
    more = ("--shards", 3, "--set", "export.keep_versions=7")
    assert call("export", own.run, "-w", tmp_path / "w", *more).code == 0
    ((context, names, force),) = stages_run
    assert (context.config.export.shards, context.config.export.keep_versions) == (3, 7)
    assert (names, force) == (["export"], True)
    assert call("export", own.run, "-w", tmp_path / "w", "--shards", 0).code == 2


def test_refreshed_candidates_are_a_key_of_the_config(call, own, stages_run, tmp_path):
    for choice in ("keep", "drop"):
        assert call("export", own.run, "-w", tmp_path / "w", f"--{choice}-refreshed").code == 0
    assert call("export", own.run, "-w", tmp_path / "w").code == 0
    choices = [context.config.export.refreshed for context, _, _ in stages_run]
    assert choices == ["keep", "drop", "refuse"]
    both = ("--keep-refreshed", "--drop-refreshed")
    assert call("export", own.run, "-w", tmp_path / "w", *both).code == 2


def test_versions_are_listed_with_what_made_them(call, bundle):
    made_by = {"command": "refresh", "arguments": "--withdraw gone.txt", "original": 5}
    publish_fake(bundle, 7, candidates=90, made_by={**made_by, "at": "2026-11-26T12:00:00+00:00"})
    result = call("versions", bundle)
    assert result.code == 0
    heading, titles, *lines = result.out.splitlines()
    assert heading == f"{bundle}:"
    assert titles.split() == ["version", "made", "by", "when", "(UTC)", "candidates", "k", "MB"]
    assert [line.split()[1] for line in lines] == ["export", "export", "refresh"]
    words = " ".join(lines[-1].split())
    assert words == "7 refresh --withdraw gone.txt 2026-11-26 12:00:00 90 10 0.0 served"
    assert call("rollback", bundle).code == 0
    lines = call("versions", bundle).out.splitlines()[2:]
    assert ["served by rollback" in line for line in lines] == [False, True, False]
    (found,) = json.loads(call("versions", bundle, "--json").out)["bundles"]
    assert (found["bundle"], found["rolled_back"]) == (str(bundle), True)
    newest = found["versions"][-1]
    size = sum(path.stat().st_size for path in (bundle / "7").iterdir())
    assert (newest["version"], newest["candidates"], newest["size_bytes"]) == (7, 90, size)
    assert newest["made_by"] == {**made_by, "at": "2026-11-26T12:00:00+00:00"}
    assert [version["served"] for version in found["versions"]] == [False, True, False]


def test_versions_of_what_is_not_there(call, tmp_path):
    result = call("versions", tmp_path / "films")
    assert result.code == 1
    assert result.err.startswith(f"twotower: {tmp_path / 'films'}: there is no bundle. Expected")
