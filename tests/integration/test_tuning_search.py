"""The search with real trainings on the planted data: what is clearly better is found."""

import pytest

from pipelines.stages.context import StageContext
from pipelines.tuning import space, tuning
from pipelines.tuning.rows import Prior, Setting
from tests.fixtures.recorder import Recorder
from tests.fixtures.tiny import tiny_run_config
from tests.fixtures.tiny_files import write_preprocessed
from tests.fixtures.tiny_world import plant
from tests.integration.test_train_pre_ranker import SPEC
from tests.unit.pipelines.comparing.documents import dump
from tfrs_twotower.artifacts import Layout, read_manifest
from tfrs_twotower.config import load_run_config
from tfrs_twotower.preflight.run import check_run

pytestmark = pytest.mark.integration
METRICS = ("ndcg@10", "recall@10")
STEP = "training.optimizer.learning_rate"
SETTINGS = {
    "retrieval": (
        Setting(STEP, (1e-5, 0.01), "with steps of nothing nothing is learned"),
        Setting("model.embedding_dim", (8, 16), "width"),
    ),
    "pre_ranking": (Setting("pre_ranking.ease.l2", (50, 200), "EASE's own"),),
}
PRIORS = {
    "retrieval": (Prior({"model.embedding_dim": 8}, "narrow"), Prior({STEP: 0.01}, "steps")),
    "pre_ranking": (),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A config that learns nothing; the files of the test split are garbage of the same size."""
    directory = tmp_path_factory.mktemp("tuned")
    config = tiny_run_config(
        model={"embedding_dim": 16, "num_residual_layers": 0},
        training={
            "batch_size": 64, "epochs": 2, "refit": True,
            "optimizer": {"learning_rate": 1e-5, "warmup_steps": 0},
            "early_stopping": {"metric": "recall@10", "patience": 5},
        },
    )  # fmt: skip
    check_run(SPEC, config)
    dump(directory / "tiny.yaml", SPEC.model_dump(mode="json"))
    run = dump(directory / "mine.yaml", config.model_dump(mode="json", exclude_unset=True))
    return directory, run


def search(world, name, monkeypatch, reporter):
    directory, run = world
    monkeypatch.setattr(space, "SETTINGS", SETTINGS)
    monkeypatch.setattr(space, "PRIORS", PRIORS)
    root = directory / name
    manifest = write_preprocessed(root / "preprocessed", SPEC, plant(0))
    assert manifest.counts["test_queries"]
    for path in (root / "preprocessed").glob("test-*"):
        path.write_bytes(b"x" * path.stat().st_size)
    context = StageContext(Layout(root), SPEC, load_run_config(run), directory, reporter)
    plan = tuning.Plan(run, (), METRICS, 0, directory / f"{name}.yaml", trials=4)
    return tuning.search(context, plan, 0.0)


def test_what_is_clearly_better_is_found(world, monkeypatch):
    """And no test query is read: its files are garbage."""
    directory, _ = world
    reporter = Recorder()
    found = search(world, "whole", monkeypatch, reporter)
    config = load_run_config(directory / "whole.yaml")
    assert config.training.optimizer.learning_rate == 0.01
    assert config.training.refit
    assert found.outcome.held_out_gain > 0.5
    first = found.trials[0]
    assert (first.changes, first.gain) == ({}, 0.0)
    assert set(first.metrics) == set(METRICS)
    parts = [one.part for one in found.trials]
    assert parts == ["retrieval"] * 3 + ["pre_ranking"]
    assert all(len(one.evaluations) == 2 for one in found.trials[:3])
    # What the search measured is what its artifacts say, without refit.
    trials = directory / "whole" / "tuning" / "trials"
    manifest = read_manifest(trials / "retrieval-0" / "model", "model")
    assert manifest.details["validation"]["ndcg@10"] == first.metrics["ndcg@10"]
    assert not manifest.details["refitted"]
    best = max(found.trials[:3], key=lambda one: one.gain)
    assert {path.name for path in trials.iterdir()} == {
        "retrieval-0", f"retrieval-{best.number}", f"pre_ranking-{best.number}-0",
    }  # fmt: skip
    assert any(step[0] == "trial 2 of 4" for step in reporter.steps)
