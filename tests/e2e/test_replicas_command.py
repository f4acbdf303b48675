"""`training.replicas` from the command line: one process that also reads, embeds and exports."""

import json

import pytest

from tests.e2e.command_line import twotower
from tests.fixtures.odd_tables import events, items, write_run

pytestmark = pytest.mark.e2e


def test_two_replicas_train_in_the_process_of_the_other_stages(tmp_path):
    run = write_run(tmp_path, events(), items())
    both = ("--set", "training.replicas=2", "--to", "embed")
    twotower("run", run, "--workdir", tmp_path / "work", *both)
    manifest = json.loads((tmp_path / "work" / "model" / "manifest.json").read_text())
    assert manifest["counts"]["steps"] > 0
    assert (tmp_path / "work" / "embeddings" / "manifest.json").exists()
