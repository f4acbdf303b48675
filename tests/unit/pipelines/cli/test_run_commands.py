"""What `run` and the stages' commands pass on and print, with the stages replaced."""

import json

import pytest
import typer

from pipelines.cli import run_commands
from pipelines.stages import sequence


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


def test_every_stage_has_a_command():
    assert tuple(run_commands._STAGES) == sequence.STAGE_NAMES


def test_a_stage_with_what_it_needs_excludes_a_range(call, tmp_path):
    result = call("run", "a.yaml", "-w", tmp_path, "--for", "evaluate", "--to", "train")
    assert result.code == 2
    assert "cannot be given with --from or --to" in result.err
    misspelt = call("run", "a.yaml", "-w", tmp_path, "--for", "evalute")
    assert "did you mean 'evaluate'?" in misspelt.err
