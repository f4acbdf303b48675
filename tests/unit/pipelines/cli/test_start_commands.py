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
        ("movielens_100k", tmp_path, (f'data_root="{data}"', "training.epochs=1")),
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


def test_dataset_lists_the_planted_set_too(call):
    assert call("dataset", "list").out.splitlines()[-1] == "synthetic"


def test_dataset_passes_sizes_and_beam_options_on(call, tmp_path, monkeypatch):
    from pipelines.stages import synthetic

    done = []
    monkeypatch.setattr(
        synthetic, "make_synthetic", lambda out, **given: done.append((out, given)) or out / "x"
    )
    given = ("--interactions", "90", "--candidates", "20", "--seed", "4", "--out", tmp_path)
    result = call("dataset", "synthetic", *given, "--", "--runner=DirectRunner")
    assert result.out == f"synthetic is in {tmp_path / 'x'}\n"
    ((out, passed),) = done
    del passed["reporter"]
    assert out == tmp_path
    assert passed == {
        "interactions": 90, "candidates": 20, "queries": None, "seed": 4,
        "beam_options": ["--runner=DirectRunner"],
    }  # fmt: skip


def test_sizes_belong_to_the_planted_set_alone(call):
    assert call("dataset", "synthetic", "--candidates", "5").code == 2
    assert call("dataset", "movielens-100k", "--candidates", "5").code == 2
    sized = ("--interactions", "9", "--candidates", "5")
    assert call("dataset", "synthetic", *sized, "--source", "there").code == 2
