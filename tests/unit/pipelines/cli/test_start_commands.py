"""What `demo`, `init` and `dataset` pass on and print, with the work behind them replaced."""

from pathlib import Path
from types import SimpleNamespace

from pipelines.cli import arguments
from pipelines.stages import sequence
from tests.unit.pipelines.init_spec.tables import shop
from tfrs_twotower.artifacts import Layout


def test_init_tells_a_command_that_can_be_pasted(call, tmp_path):
    interactions, candidates, _ = shop(tmp_path / "mein laden")
    result = call(
        *("init", "--interactions", interactions, "--candidates", candidates),
        *("--out", tmp_path / "out dir", "--name", "laden"),
    )
    run = tmp_path / "out dir" / "laden_run.yaml"
    assert f"`twotower run '{run}' --workdir build/laden`" in result.out


def test_demo_fetches_runs_everything_and_answers(call, tmp_path, monkeypatch, stages_run):
    from pipelines.cli import printing
    from pipelines.datasets import fetch

    done = []
    monkeypatch.setattr(
        fetch, "prepare", lambda name, out, source, reporter: done.append((name, out, source))
    )
    context = SimpleNamespace(layout=Layout(tmp_path))

    def make_context(run, workdir, overrides):
        done.append((run.name, workdir, overrides))
        return context

    monkeypatch.setattr(arguments, "make_context", make_context)
    monkeypatch.setattr(printing, "print_leaderboard", lambda layout: done.append("board"))
    monkeypatch.setattr(printing, "print_recommendations", lambda c: done.append("words"))
    monkeypatch.setattr(printing, "print_bundle_agreement", lambda c: done.append("agree"))
    result = call("demo", "-w", tmp_path, "--source", "/there", "--set", "training.epochs=1")
    data = tmp_path / "data"
    assert done == [
        ("movielens-100k", data, Path("/there")),
        ("movielens_100k.yaml", tmp_path, (f'data_root="{data}"', "training.epochs=1")),
        "board",
        "words",
        "agree",
    ]
    assert stages_run[0][1] == list(sequence.STAGE_NAMES)
    assert result.out.endswith(f"Report: {tmp_path / 'report' / 'index.html'}\n")


def test_datasets_are_listed(call):
    names = call("dataset", "list").out.split()
    assert "movielens-100k" in names
    assert names == sorted(names)
