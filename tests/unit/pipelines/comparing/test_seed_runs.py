"""Which artifacts a run reuses, with stages that only write a file."""

import os

import pytest

from pipelines.comparing.seed_runs import reuse_artifacts
from pipelines.progress import SilentReporter
from pipelines.stages.context import StageContext, read_durations
from pipelines.stages.sequence import run_stages
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tfrs_twotower.artifacts import Layout


@pytest.fixture
def donor(tmp_path, stages):
    root = tmp_path / "donor"
    root.mkdir()
    run_stages(context_of(root, seed=7), stages)
    return root


def context_of(root, **changes):
    return StageContext(
        Layout(root), tiny_spec(), tiny_run_config(**changes), root, SilentReporter()
    )


def test_what_fits_is_linked_with_the_time_that_it_took(tmp_path, stages, donor):
    context = context_of(tmp_path / "own", seed=7)
    reused = reuse_artifacts(context, stages, [tmp_path / "none", donor])
    assert reused == ["preprocess", "train"]
    own = tmp_path / "own" / "model" / "data.txt"
    assert own.read_text() == "model 7"
    assert os.path.samefile(own, donor / "model" / "data.txt")
    assert read_durations(tmp_path / "own") == read_durations(donor)
    assert all(outcome.skipped for outcome in run_stages(context, stages))


def test_another_seed_reuses_only_what_does_not_depend_on_it(tmp_path, stages, donor):
    context = context_of(tmp_path / "own", seed=8)
    assert reuse_artifacts(context, stages, [donor]) == ["preprocess"]
    assert not (tmp_path / "own" / "model").exists()


def test_what_is_there_is_not_replaced(tmp_path, stages, donor):
    root = tmp_path / "own"
    root.mkdir()
    context = context_of(root, seed=7)
    run_stages(context, stages)
    (root / "model" / "data.txt").write_text("mine")
    assert reuse_artifacts(context, stages, [donor]) == []
    assert (root / "model" / "data.txt").read_text() == "mine"


def test_without_hard_links_files_are_copied(tmp_path, stages, donor, monkeypatch):
    def refuse(source, destination):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    context = context_of(tmp_path / "own", seed=7)
    assert reuse_artifacts(context, stages, [donor]) == ["preprocess", "train"]
    assert (tmp_path / "own" / "model" / "data.txt").read_text() == "model 7"
    assert not (tmp_path / "own" / ".model.partial").exists()
