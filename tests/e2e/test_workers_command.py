"""`twotower train` in two processes of a cluster: the losses of one, and a kill in between."""

import json
import shutil
import signal
import socket
import subprocess
import time

import numpy as np
import pytest

from tests.e2e.command_line import ENVIRONMENT, TWOTOWER, init_library, twotower

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
OVERRIDES = (
    "--set", "training.epochs=2", "--set", "training.batch_size=64",
    "--set", "training.checkpoint_every_steps=3", "--set", "model.history_dropout=0",
)  # fmt: skip
WAIT_S = 400


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return init_library(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    """The working directory of a training in one process."""
    workdir = tmp_path_factory.mktemp("alone")
    twotower("run", run, "--workdir", workdir, "--to", "train", *OVERRIDES)
    return workdir


@pytest.fixture
def workdir(alone, tmp_path):
    shutil.copytree(alone / "preprocessed", tmp_path / "preprocessed")
    return tmp_path


def addresses():
    """Two addresses that nobody listens on."""
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("localhost", 0))
        return [f"localhost:{free.getsockname()[1]}" for free in (one, other)]


def start(run, workdir, cluster, index):
    config = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [TWOTOWER, "train", run, "--workdir", workdir, *OVERRIDES],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**ENVIRONMENT, "TF_CONFIG": json.dumps(config), "TF_NUM_INTRAOP_THREADS": "1"},
    )


def finish(processes):
    try:
        said = [process.communicate(timeout=WAIT_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return said


def losses(workdir):
    lines = (workdir / "model" / "training_log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [entry for entry in map(json.loads, lines) if "loss" in entry]
    return [(e["phase"], e["step"]) for e in entries], [e["loss"] for e in entries]


def check_same(workdir, alone):
    steps, found = losses(workdir)
    expected_steps, expected = losses(alone)
    assert steps == expected_steps
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert not (workdir / ".model.partial").exists()


def test_two_processes_have_the_losses_of_one(run, alone, workdir):
    cluster = addresses()
    said = finish([start(run, workdir, cluster, index) for index in (0, 1)])
    check_same(workdir, alone)
    assert "Kept the weights" in said[0]
    assert "Kept the weights" not in said[1]
    assert "the chief keeps the result" in said[1]


@pytest.mark.parametrize("victim", [1, 0])
def test_one_is_killed_and_started_again(run, alone, workdir, victim):
    cluster = addresses()
    processes = [start(run, workdir, cluster, index) for index in (0, 1)]
    checkpoints = workdir / ".model.partial" / "checkpoints"
    deadline = time.monotonic() + WAIT_S
    while not list(checkpoints.glob("*/ckpt-*.index")) and time.monotonic() < deadline:
        time.sleep(0.01)
    processes[victim].send_signal(signal.SIGKILL)
    processes[victim].communicate()
    assert not (workdir / "model").exists(), "killed too late to matter"
    processes[victim] = start(run, workdir, cluster, victim)
    said = finish(processes)
    assert "a process of the cluster has ended" in said[1 - victim]
    assert "Continuing a training that was interrupted" in said[0]
    check_same(workdir, alone)
