import os
import re
import subprocess
import sys

import pytest

from pipelines.stages import context
from pipelines.stages.context import (
    LOCK_NAME,
    StageContext,
    only_run_in,
    open_parent,
    open_workdir,
    wait_until_free,
)
from tests.fixtures.recorder import Recorder
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tfrs_twotower.artifacts import Layout, commit, fingerprint, staging_directory
from tfrs_twotower.errors import CorruptArtifact, StaleArtifact, WorkdirError


def test_makes_the_directory_with_its_parents(tmp_path):
    assert open_workdir(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()
    assert open_workdir(tmp_path / "a" / "b") == tmp_path / "a" / "b"


def test_refuses_a_file(tmp_path):
    (tmp_path / "w").write_text("")
    with pytest.raises(WorkdirError, match=r"w: the working directory is a file\. Name"):
        open_workdir(tmp_path / "w")
    with pytest.raises(WorkdirError, match="cannot be made: Not a directory"):
        open_workdir(tmp_path / "w" / "inner")


@pytest.mark.parametrize("name", ["a [1]", "a*", "what?", "back\\slash"])
def test_refuses_names_that_tensorflow_takes_for_a_pattern(tmp_path, name):
    sign = next(sign for sign in "*?[\\" if sign in name)
    with pytest.raises(WorkdirError, match=re.escape(f"for a pattern, because of `{sign}`")):
        open_workdir(tmp_path / name)
    assert not (tmp_path / name).exists()
    with pytest.raises(WorkdirError, match="for a pattern"):
        open_workdir(tmp_path / name / "work")


def test_refuses_what_this_user_may_not_write(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(WorkdirError, match="cannot be written by this user"):
        open_workdir(tmp_path)


def test_one_run_at_a_time(tmp_path):
    with only_run_in(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
        with (
            pytest.raises(WorkdirError, match=rf"working here \(process {os.getpid()}\)\. Wait"),
            only_run_in(tmp_path),
        ):
            pass
    with only_run_in(tmp_path):
        pass


def test_the_lock_of_a_killed_run_holds_nobody_up(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from pipelines.stages.context import only_run_in\n"
        "with only_run_in(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert killed.returncode == -9
    assert (tmp_path / LOCK_NAME).exists()
    with only_run_in(tmp_path):
        pass


def test_waits_for_the_run_that_holds_it(tmp_path, monkeypatch):
    recorder = Recorder()
    holder = only_run_in(tmp_path)
    holder.__enter__()
    waits = []

    def end_after_three_looks(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            holder.__exit__(None, None, None)

    monkeypatch.setattr(context.time, "sleep", end_after_three_looks)
    wait_until_free(tmp_path, recorder)
    assert len(waits) == 3
    (message,) = recorder.messages
    assert message.endswith(
        f"another run is working here (process {os.getpid()}); waiting until it ends"
    )


def write(context, kind, text="", parents=()):
    """An artifact of one file."""
    destination = context.layout.root / kind
    staging = staging_directory(destination)
    (staging / "data.txt").write_text(text)
    return commit(
        staging,
        destination,
        kind=kind,
        spec_fingerprint=fingerprint(context.spec),
        config_fingerprint="settings",
        parents=dict(parents),
        counts={},
    )


@pytest.fixture
def run(tmp_path):
    """A context whose `model` was made from its `preprocessed`."""
    context = StageContext(Layout(tmp_path), tiny_spec(), tiny_run_config(), tmp_path, Recorder())
    parent = write(context, "preprocessed", "tables")
    write(context, "model", "weights", {"preprocessed": parent.fingerprint})
    return context


def test_a_parent_is_read_if_everything_fits(run):
    assert open_parent(run, "model").kind == "model"
    write(run, "preprocessed", "tables")
    assert open_parent(run, "model").kind == "model"


def test_a_parent_whose_own_parent_was_replaced_is_refused(run):
    write(run, "preprocessed", "other tables")
    with pytest.raises(StaleArtifact, match=r"model: was made from 'preprocessed' .*replaced by"):
        open_parent(run, "model")


def test_a_parent_of_another_spec_is_refused(run):
    other = run.spec.model_copy(update={"description": "Other data."})
    changed = StageContext(run.layout, other, run.config, run.data_root, run.reporter)
    with pytest.raises(StaleArtifact, match=r"model: was made from feature spec .*, this run's"):
        open_parent(changed, "model")


def test_a_parent_with_changed_bytes_is_refused(run):
    (run.layout.model / "data.txt").write_text("WEIGHTS")
    with pytest.raises(CorruptArtifact, match=r"data\.txt: does not match its checksum"):
        open_parent(run, "model")
