"""What `run` and the stages' commands pass on and print, with the stages replaced."""

import json
import os
import shlex
import sys
from pathlib import Path

import pytest
import typer

from pipelines.cli import run_commands
from pipelines.stages import sequence
from tests.unit.evaluation.documents import evaluation_document
from tfrs_twotower.errors import WorkerLost
from tfrs_twotower.evaluation.systems import label
from tfrs_twotower.evaluation.written_documents import write_json


def test_overrides_and_beam_options_reach_the_run(call, own, tmp_path, stages_run):
    result = call(
        *("run", own.run, "-w", tmp_path / "w", "--set", "training.epochs=3", "--to", "train"),
        *("--set", "seed=9", "--json", "--", "--runner=FlinkRunner"),
    )
    ((context, names, force),) = stages_run
    assert (names, force) == (["preprocess", "train"], False)
    assert (context.config.training.epochs, context.config.seed) == (3, 9)
    assert context.beam_options == ("--runner=FlinkRunner",)
    assert context.layout.root == tmp_path / "w"
    stages = json.loads(result.out)["stages"]
    assert stages[1] == {
        "stage": "train",
        "skipped": False,
        "seconds": 1.235,
        "fingerprint": "f",
        "directory": str(tmp_path / "w" / "model"),
        "counts": {},
    }


def test_a_stage_of_its_own_always_runs(call, own, tmp_path, stages_run):
    assert call("build-index", own.run, "-w", tmp_path / "w").code == 0
    assert stages_run[0][1:] == (["build-index"], True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainig.epochs=3", "did you mean 'training'?"),
        ("training.epoch=3", "did you mean 'epochs'?"),
        ("training.epochs=many", "training.epochs: "),
        ("training.epochs", "expected a.b=value"),
        ("name.x=1", "'name' is a value, not a section"),
        ("name=[1", "the value is not YAML"),
    ],
)
def test_a_wrong_override_is_one_line(call, own, tmp_path, stages_run, override, message):
    result = call("run", own.run, "-w", tmp_path / "w", "--set", override)
    assert result.code == 1
    assert message in result.err
    assert result.err.count("\n") == 1
    assert stages_run == []
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("stage", ["mine", "train-pre-ranker"])
@pytest.mark.parametrize("command", [(), ("run", "--from"), ("run", "--to"), ("run", "--for")])
def test_a_pre_rankers_stage_without_one_is_one_line(call, own, tmp_path, command, stage):
    result = call(*command, stage, own.run, "-w", tmp_path / "w")
    assert result.code == 1
    assert result.err.startswith("twotower: run 'laden': the run config has no pre_ranking section")
    assert result.err.count("\n") == 1
    assert list((tmp_path / "w").iterdir()) == []


def test_a_working_directory_that_is_a_file(call, own, tmp_path, stages_run):
    (tmp_path / "w").write_text("")
    result = call("run", own.run, "-w", tmp_path / "w")
    assert result.code == 2
    assert result.err == (
        f"twotower: {tmp_path / 'w'}: the working directory is a file. "
        "Name a directory that you may write in.\n"
    )


def test_a_whole_run_ends_with_leaderboard_and_report(call, own, tmp_path, stages_run, monkeypatch):
    from pipelines.cli import printing

    monkeypatch.setattr(printing, "print_leaderboard", lambda layout: typer.echo("LEADERBOARD"))
    result = call("run", own.run, "-w", tmp_path / "w")
    assert result.out == f"LEADERBOARD\nReport: {tmp_path / 'w' / 'report' / 'index.html'}\n"


def planted_report(directory, difference):
    """A report whose retrieval differs so much from every other system in every metric."""
    document = evaluation_document(funnel={"pool": None})
    entries = tuple(
        entry.model_copy(update={"difference": difference, "significant": True})
        for entry in document.comparisons
        if entry.b != "hybrid"
    )
    document = document.model_copy(update={"comparisons": entries})
    directory.mkdir(parents=True)
    write_json(directory / "evaluation.json", document)
    return {entry.b for entry in entries if entry.a == "retrieval"}


def test_behind_the_console_says_so_in_one_line_and_what_to_try(call, own, tmp_path, stages_run):
    baselines = planted_report(tmp_path / "w" / "report", -0.02)
    lines = call("evaluate", own.run, "-w", tmp_path / "w").out.splitlines()
    (line,) = [line for line in lines if line.startswith("Retrieval: behind ")]
    assert all(label(name) in line for name in baselines)
    assert "Verdict: behind every baseline (paired test over queries, Holm's correction)." in lines
    assert lines[lines.index("What to try next:") + 1].startswith("  - Behind ")
    table = [line for line in lines if line.lstrip().startswith(tuple(baselines))]
    assert len(table) == len(baselines)
    assert not any(mark in line for line in table for mark in "+=")


def test_ahead_nothing_is_advised(call, own, tmp_path, stages_run):
    planted_report(tmp_path / "w" / "report", 0.02)
    out = call("run", own.run, "-w", tmp_path / "w").out
    assert "\nVerdict: ahead of every baseline (" in out
    assert "\nRetrieval: ahead of " in out
    assert "What to try" not in out


def test_json_has_the_verdict_as_data(call, own, tmp_path, stages_run):
    baselines = planted_report(tmp_path / "w" / "report", -0.02)
    verdict = json.loads(call("evaluate", own.run, "-w", tmp_path / "w", "--json").out)["verdict"]
    assert (verdict["system"], verdict["standing"]) == ("retrieval", "behind")
    assert set(verdict["against"]) == baselines
    assert {s for metrics in verdict["against"].values() for s in metrics.values()} == {"behind"}
    assert verdict["advice"]
    assert "verdict" not in json.loads(call("train", own.run, "-w", tmp_path / "w", "--json").out)


def test_the_command_and_its_documents_reach_the_stages(call, own, tmp_path, stages_run):
    call("run", own.run, "-w", tmp_path / "w", "--to", "train")
    ((context, _, _),) = stages_run
    assert context.command == shlex.join(
        ["twotower", "run", str(own.run), "-w", str(tmp_path / "w"), "--to", "train"]
    )
    assert context.documents["run config"] == str(own.run)
    assert Path(context.documents["feature spec"]).resolve() == Path(own.spec).resolve()


def test_every_stage_has_a_command():
    assert tuple(run_commands._STAGES) == sequence.STAGE_NAMES


def test_a_stage_with_what_it_needs_excludes_a_range(call, tmp_path):
    result = call("run", "a.yaml", "-w", tmp_path, "--for", "evaluate", "--to", "train")
    assert result.code == 2
    assert "cannot be given with --from or --to" in result.err
    misspelt = call("run", "a.yaml", "-w", tmp_path, "--for", "evalute")
    assert "did you mean 'evaluate'?" in misspelt.err


def test_a_training_whose_worker_is_lost_starts_again_as_it_was(call, own, tmp_path, monkeypatch):
    def lose(*_, **__):
        raise WorkerLost("training: a process has ended.")

    started = []
    monkeypatch.setattr(sequence, "run_stages", lose)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "pipelines", "train"])
    monkeypatch.setattr(os, "execv", lambda *command: started.append(command) or sys.exit(7))
    assert call("train", own.run, "-w", tmp_path / "w").code == 7
    assert started == [(sys.executable, [sys.executable, "-m", "pipelines", "train"])]


def test_the_options_of_a_daily_job_reach_the_run(call, own, tmp_path, stages_run):
    metrics = tmp_path / "twotower.prom"
    call(
        *("run", own.run, "-w", tmp_path / "w", "--to", "train", "--since", "2026-11-20"),
        *("--log-format", "json", "--metrics-file", metrics),
    )
    ((context, _, _),) = stages_run
    assert context.since == "2026-11-20"
    assert [type(one).__name__ for one in context.listeners] == ["JsonReporter", "MetricsFile"]
    assert context.reporter is context.listeners[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--since", "20.11.2026"], "found '20.11.2026'; expected a UTC day such as 2026-11-20."),
        (["--since", "2026-11-20T00:00:00"], "expected a UTC day such as 2026-11-20."),
        (["--log-format", "xml"], "'xml' is neither text nor json."),
    ],
)
def test_wrong_options_are_named(call, own, tmp_path, stages_run, options, message):
    result = call("run", own.run, "-w", tmp_path / "w", *options)
    assert result.code == 2
    assert message in " ".join(result.err.split())
    assert stages_run == []
