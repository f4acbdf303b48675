import json
from types import SimpleNamespace

import pytest

from pipelines.stages import sequence
from tests.unit.pipelines.cli.command import twotower
from tests.unit.pipelines.init_spec.tables import shop


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
            sequence.StageOutcome(stage.name, False, 1.23456, "f", context.layout.root / stage.kind)
            for stage in stages
        ]

    monkeypatch.setattr(sequence, "run_stages", run_stages)
    return calls
