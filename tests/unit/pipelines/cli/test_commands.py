"""What the commands pass on and print, with the work behind them replaced."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from pipelines.cli import run_commands as stage_commands
from pipelines.cli import running
from pipelines.stages import order
from tests.unit.pipelines.cli.command import twotower
from tests.unit.pipelines.init_spec.tables import shop
from tfrs_twotower.artifacts import Layout


@pytest.fixture
def call(monkeypatch, capsys):
    return lambda *arguments: twotower(monkeypatch, capsys, *arguments)


@pytest.fixture
def own(call, tmp_path):
    interactions, candidates, queries = shop(tmp_path / "mein laden")
    result = call(
        *("init", "--interactions", interactions, "--candidates", candidates),
        *("--queries", queries, "--out", tmp_path / "out dir", "--name", "laden", "--json"),
    )
    return SimpleNamespace(**json.loads(result.out))


@pytest.fixture
def stages_run(monkeypatch):
    """The contexts and stage names that would have run."""
    calls = []

    def run_stages(context, stages, *, force=False):
        calls.append((context, [stage.name for stage in stages], force))
        return [
            order.StageOutcome(stage.name, False, 1.23456, "f", context.layout.root / stage.kind)
            for stage in stages
        ]

    monkeypatch.setattr(order, "run_stages", run_stages)
    return calls


def test_init_tells_a_command_that_can_be_pasted(call, tmp_path):
    interactions, candidates, _ = shop(tmp_path / "mein laden")
    result = call(
        *("init", "--interactions", interactions, "--candidates", candidates),
        *("--out", tmp_path / "out dir", "--name", "laden"),
    )
    run = tmp_path / "out dir" / "laden_run.yaml"
    assert f"`twotower run '{run}' --workdir build/laden`" in result.out


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
    ("override", "said"),
    [
        ("trainig.epochs=3", "did you mean 'training'?"),
        ("training.epoch=3", "did you mean 'epochs'?"),
        ("training.epochs=many", "training.epochs: "),
        ("training.epochs", "expected a.b=value"),
        ("name.x=1", "'name' is a value, not a section"),
        ("name=[1", "the value is not YAML"),
    ],
)
def test_a_wrong_override_is_one_line(call, own, tmp_path, stages_run, override, said):
    result = call("run", own.run, "-w", tmp_path / "w", "--set", override)
    assert result.code == 1
    assert said in result.err
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
    from pipelines.cli import printing as leaderboards

    monkeypatch.setattr(leaderboards, "print_leaderboard", lambda layout: typer.echo("LEADERBOARD"))
    result = call("run", own.run, "-w", tmp_path / "w")
    assert result.out == f"LEADERBOARD\nReport: {tmp_path / 'w' / 'report' / 'index.html'}\n"


def test_demo_fetches_runs_everything_and_answers(call, tmp_path, monkeypatch, stages_run):
    from pipelines.cli import printing as leaderboards
    from pipelines.cli import printing as recommendations
    from pipelines.datasets import fetch

    done = []
    monkeypatch.setattr(
        fetch, "prepare", lambda name, out, source, reporter: done.append((name, out, source))
    )
    context = SimpleNamespace(layout=Layout(tmp_path))

    def make_context(run, workdir, overrides):
        done.append((run.name, workdir, overrides))
        return context

    monkeypatch.setattr(running, "make_context", make_context)
    monkeypatch.setattr(leaderboards, "print_leaderboard", lambda layout: done.append("board"))
    monkeypatch.setattr(recommendations, "print_recommendations", lambda c: done.append("words"))
    monkeypatch.setattr(recommendations, "print_bundle_agreement", lambda c: done.append("agree"))
    result = call("demo", "-w", tmp_path, "--source", "/there", "--set", "training.epochs=1")
    data = tmp_path / "data"
    assert done == [
        ("movielens-100k", data, Path("/there")),
        ("movielens_100k.yaml", tmp_path, (f"data_root={data}", "training.epochs=1")),
        "board",
        "words",
        "agree",
    ]
    assert stages_run[0][1] == list(order.STAGE_NAMES)
    assert result.out.endswith(f"Report: {tmp_path / 'report' / 'index.html'}\n")


def test_datasets_are_listed(call):
    names = call("dataset", "list").out.split()
    assert "movielens-100k" in names
    assert names == sorted(names)


def test_every_stage_has_a_command():
    assert tuple(stage_commands._STAGES) == order.STAGE_NAMES
