"""`kill -9` in the middle of each stage, then the same command again."""

import json
import shutil
import signal
import subprocess
import time

import pytest

from tests.e2e.command_line import ENVIRONMENT, TWOTOWER, init_library, twotower

pytestmark = pytest.mark.e2e
STAGES = {
    "preprocess": "preprocessed",
    "train": "model",
    "embed": "embeddings",
    "export": "bundle",
}
HALF_WRITTEN = {
    "preprocess": (".preprocessed.partial/*",),
    "train": (".model.partial/checkpoints/*",),
    "embed": (".embeddings.partial/*",),
    "export": ("bundle/*/.*.partial/*",),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("kill")
    return init_library(directory)


OVERRIDES = (
    "--set", "training.epochs=6", "--set", "training.checkpoint_every_steps=3",
    "--set", "training.batch_size=64",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    twotower("run", run, "--workdir", workdir, "--to", "export", *OVERRIDES)
    return workdir


def losses(workdir):
    lines = (workdir / "model" / "training_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [(e["step"], e["loss"]) for e in map(json.loads, lines) if "loss" in e]


def fingerprints(run, workdir):
    result = twotower("run", run, "--workdir", workdir, "--to", "export", "--json", *OVERRIDES)
    stages = json.loads(result.stdout)["stages"]
    return {stage["stage"]: (stage["skipped"], stage["fingerprint"]) for stage in stages}


def kill_during(run, workdir, stage, half_written=None, overrides=OVERRIDES):
    """Starts the run and kills it as soon as the stage has begun to write."""
    process = subprocess.Popen(
        [TWOTOWER, "run", run, "--workdir", workdir, "--to", "export", *overrides],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        for line in process.stderr:
            if line.startswith("[") and f"] {stage}" in line and "done" not in line:
                break
        # Long enough for the stage to have something half-written, short enough not to finish.
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if any(list(workdir.glob(pattern)) for pattern in half_written or HALF_WRITTEN[stage]):
                break
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()


def test_killed_in_every_stage_it_finishes_with_the_same_result(run, undisturbed, tmp_path):
    for stage, artifact in STAGES.items():
        kill_during(run, tmp_path, stage)
        assert not (tmp_path / artifact / "manifest.json").exists(), "killed too late to matter"
    disturbed = fingerprints(run, tmp_path)
    expected = fingerprints(run, undisturbed)
    assert {n: f for n, (_, f) in disturbed.items()} == {n: f for n, (_, f) in expected.items()}
    assert all(skipped for skipped, _ in expected.values())
    assert losses(tmp_path) == losses(undisturbed)


@pytest.mark.slow  # tests/unit/training/test_rounds.py kills in one process
def test_killed_in_a_round_of_mined_negatives_it_finishes_with_the_same_bytes(
    run, undisturbed, tmp_path
):
    """Killed while round 1 trains, and once more while it mines in another directory."""
    overrides = (
        *OVERRIDES, "--set", "training.ance.rounds=2", "--set", "training.ance.ranks=[1, 20]",
        "--set", "training.terms.dual.weight=0.1",
    )  # fmt: skip
    places = {"whole": None, "training": "1/checkpoints/*", "mining": "1/.negatives.partial/*"}
    found = {}
    for name, half_written in places.items():
        workdir = tmp_path / name
        workdir.mkdir()
        shutil.copytree(undisturbed / "preprocessed", workdir / "preprocessed")
        if half_written is not None:
            kill_during(
                run, workdir, "train", (f".model.partial/rounds/{half_written}",), overrides
            )
            assert not (workdir / "model").exists(), "killed too late to matter"
        twotower("run", run, "--workdir", workdir, "--to", "train", *overrides)
        found[name] = json.loads((workdir / "model" / "manifest.json").read_text(encoding="utf-8"))
    files = found["whole"]["files"]
    assert {"weights.npz", "rounds/1/negatives/fit-rows.npy", "rounds/2/weights.npz"} <= set(files)
    assert found["training"]["files"] == files
    assert found["mining"]["files"] == files
