"""Whether a stage has to run, and that a run which has nothing to do is told so at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.arguments import make_context
from pipelines.cli.plan_printing import print_plan
from pipelines.stages import fingerprints, up_to_date
from pipelines.stages.sequence import STAGES, part_of_run
from tests.fixtures.processor_seconds import LIGHT, processor_seconds
from tfrs_twotower.artifacts import commit, fingerprint, read_manifest, staging_directory

ROOT = Path(__file__).resolve().parents[4]
SPEC = """
name: loans
description: Books that readers borrowed.
licence: CC0
interactions: {path: loans-*.csv, query_id: reader, candidate_id: book,
  timestamp: {column: day, unit: iso}}
candidates: {path: books.csv, id: book}
query: {features: [{name: history, kind: history, max_length: 5}]}
candidate: {features: [{name: book, kind: id}]}
split: {kind: temporal, test_fraction: 0.1, validation_fraction: 0.1}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run config, its tables, and finished artifacts that hold one line each."""
    monkeypatch.setenv("TWOTOWER_DATA", str(tmp_path))
    (tmp_path / "loans.yaml").write_text(SPEC)
    (tmp_path / "loans_run.yaml").write_text("name: loans\nspec: loans.yaml\n")
    (tmp_path / "loans-1.csv").write_text("reader,book,day\nr1,b1,2026-11-19\n")
    (tmp_path / "books.csv").write_text("book\nb1\n")
    return tmp_path / "loans_run.yaml"


def context_of(run):
    return make_context(run, run.parent / "work")


def finish(context, *kinds):
    for stage in part_of_run(STAGES, context.config):
        if kinds and stage.kind not in kinds:
            continue
        destination = context.layout.root / stage.kind
        staging = staging_directory(destination)
        (staging / "line.txt").write_text(stage.kind)
        parents = {
            kind: read_manifest(context.layout.root / kind, kind).fingerprint
            for kind in stage.needs
            if (context.layout.root / kind).exists()
        }
        commit(
            staging,
            destination,
            kind=stage.kind,
            spec_fingerprint=fingerprint(context.spec),
            config_fingerprint=fingerprints.OF[stage.kind](context),
            parents=parents,
            counts={"validation_queries": 1, "test_queries": 1},
        )


def reasons(context):
    return {
        stage.kind: up_to_date.check(context, stage.kind).reason
        for stage in part_of_run(STAGES, context.config)
    }


def test_every_stage_says_why_it_has_to_run(run):
    context = context_of(run)
    assert set(reasons(context).values()) == {"there is none yet"}
    finish(context)
    assert set(reasons(context).values()) == {""}
    (run.parent / "loans-2.csv").write_text("reader,book,day\nr1,b1,2026-11-20\n")
    assert reasons(context)["preprocessed"] == "the settings or the tables changed"
    finish(context, "preprocessed")
    assert reasons(context)["model"] == "preprocessed/ was made again"
    other = make_context(run, run.parent / "work", ["preprocess.num_shards=3"])
    assert reasons(other)["preprocessed"] == "the settings or the tables changed"
    (run.parent / "work" / "index" / "line.txt").write_text("")
    found = up_to_date.check(other, "index")
    assert found.is_damage
    assert "line.txt: does not match its checksum" in found.reason


def test_a_table_is_hashed_once(run, monkeypatch):
    table = run.parent / "loans-1.csv"
    os.utime(table, (1, 1))
    context, hashed = context_of(run), []
    read = fingerprints.sha256_file
    monkeypatch.setattr(fingerprints, "sha256_file", lambda path: hashed.append(path) or read(path))
    monkeypatch.setattr(fingerprints, "_YOUNG_NS", -1)
    first = fingerprints.preprocess(context)
    assert sorted(path.name for path in hashed) == ["books.csv", "loans-1.csv"]
    hashed.clear()
    assert (fingerprints.preprocess(context), hashed) == (first, [])
    table.write_text(table.read_text().replace("19", "18"))  # of the same size
    os.utime(table, (1, 1))  # and, to a careless eye, of the same age
    assert fingerprints.preprocess(context) != first
    assert [path.name for path in hashed] == ["loans-1.csv"]
    (run.parent / "work" / fingerprints.HASHED).write_text("not json")
    assert fingerprints.preprocess(context) != first


def test_a_file_that_has_just_changed_is_not_remembered(run):
    fingerprints.preprocess(context_of(run))
    memory = run.parent / "work" / fingerprints.HASHED
    assert not memory.exists() or json.loads(memory.read_text()) == {}


def test_an_unchanged_run_loads_nothing_heavy_and_answers_fast(run):
    """In under a second where what any command loads takes a quarter of one."""
    finish(context_of(run))
    program = (
        "import sys\n"
        f"sys.argv = ['twotower', 'run', {str(run)!r}, '-w', {str(run.parent / 'work')!r}, "
        "'--to', 'export']\n"
        "from pipelines.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stderr.count("is up to date, skipped") == 5
    heavy = {"tensorflow", "apache_beam", "scipy", "pandas", "matplotlib"}
    assert heavy & set(ended.stdout.split()) == set()
    assert processor_seconds(command) < 4 * processor_seconds(LIGHT)


def test_a_dry_run_says_what_would_run_and_makes_nothing(run, capsys):
    context = context_of(run)
    finish(context)
    (run.parent / "loans-2.csv").write_text("reader,book,day\nr1,b1,2026-11-20\n")
    there = sorted(run.parent.rglob("*"))
    print_plan(context, STAGES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "interactions: 2 files, 0.0 MB"
    assert lines[2] == "preprocess: runs: the settings or the tables changed (0.0 MB)"
    assert lines[3] == "train: runs: preprocess runs before it (0.0 MB)"
    assert lines[5] == "build-index: runs: embed runs before it (0.0 MB)"
    print_plan(context, STAGES, json_output=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["tables"]["interactions"] == {"files": 2, "bytes": 66}
    assert [one["runs"] for one in answer["stages"]] == [True] * 6
    assert answer["stages"][0]["size_bytes"] == len("preprocessed")
    (run.parent / "loans-2.csv").unlink()
    print_plan(context, STAGES)
    assert capsys.readouterr().out.count(": up to date (") == 6
    there.remove(run.parent / "loans-2.csv")
    assert [one for one in run.parent.rglob("*") if one not in there] in (
        [],
        [run.parent / "work" / fingerprints.HASHED],
    )
