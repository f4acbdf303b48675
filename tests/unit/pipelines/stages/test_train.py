from dataclasses import replace

import pytest

from pipelines.stages import train as stage
from pipelines.stages import training_runs
from pipelines.stages.context import StageContext
from pipelines.stages.training_runs import TrainingProgress, open_training
from tests.fixtures.recorder import Killed, Recorder
from tests.fixtures.tiny import tiny_run_config, tiny_spec, write_tiny_preprocessed
from tfrs_twotower.artifacts import Layout, Lineage, fingerprint, read_manifest, verify_files
from tfrs_twotower.errors import MissingArtifact
from tfrs_twotower.training.reports import StepReport


def context_of(root, reporter=None, **training):
    present = tiny_run_config().training.model_dump(mode="json")
    settings = {**present, "epochs": 1, "checkpoint_every_steps": 2, **training}
    config = tiny_run_config(model={"embedding_dim": 4}, training=settings)
    return StageContext(Layout(root), tiny_spec(), config, root, reporter or Recorder())


def test_writes_a_model_artifact_and_tells_how_far_it_is(tmp_path):
    write_tiny_preprocessed(tmp_path / "preprocessed")
    context = context_of(tmp_path)
    manifest = stage.run(context)
    verify_files(tmp_path / "model", manifest)
    assert read_manifest(tmp_path / "model", "model") == manifest
    assert manifest.config_fingerprint == stage.config_fingerprint(context)
    parent = read_manifest(tmp_path / "preprocessed", "preprocessed")
    assert manifest.parents == {"preprocessed": parent.fingerprint}
    assert {"weights.npz", "architecture.json", "statistics.json"} <= set(manifest.files)
    assert "training_log.jsonl" not in manifest.files, "its rates differ between equal runs"
    assert not [name for name in manifest.files if "checkpoint" in name or "resum" in name]
    assert manifest.counts["train_examples"] == 420
    assert 0 <= manifest.details["validation"]["recall@10"] <= 1
    assert context.reporter.steps[-1][:3] == ("train", 7, 7)
    assert "examples/s" in context.reporter.steps[-1][3]


def test_a_killed_stage_leaves_nothing_finished_and_continues(tmp_path, monkeypatch):
    monkeypatch.setattr(training_runs, "_REPORT_EVERY_S", 0.0)
    write_tiny_preprocessed(tmp_path / "preprocessed")
    with pytest.raises(Killed, match="now"):
        stage.run(context_of(tmp_path, Recorder(lambda _, step: step >= 5)))
    assert not (tmp_path / "model").exists()
    again = Recorder()
    stage.run(context_of(tmp_path, again))
    assert again.messages[0] == "Continuing a training that was interrupted."
    assert again.steps[0][1] == 5


def test_checkpoints_of_another_origin_are_not_taken_up(tmp_path):
    lineage = Lineage("spec", "a", {"preprocessed": "b"})
    context = context_of(tmp_path)
    staging = open_training(context, tmp_path / "model", lineage)
    checkpoints = staging.directory / "checkpoints"
    checkpoints.mkdir()
    assert open_training(context, tmp_path / "model", lineage) == staging
    assert checkpoints.exists()
    assert context.reporter.messages == ["Continuing a training that was interrupted."]
    open_training(context, tmp_path / "model", lineage._replace(config_fingerprint="c"))
    assert not checkpoints.exists()


def test_the_fingerprint_is_of_what_training_reads():
    base = stage.config_fingerprint(context_of(None))
    assert base == stage.config_fingerprint(context_of(None))
    assert base != stage.config_fingerprint(context_of(None, batch_size=32))


def test_the_fingerprint_without_rounds_is_that_of_before_there_were_any():
    context = context_of(None)
    section = context.config.training.model_dump(mode="json")
    assert section.pop("ance") is None
    model = context.config.model.model_dump(mode="json")
    expected = fingerprint({"seed": 7, "model": model, "training": section})
    assert stage.config_fingerprint(context) == expected
    of_rounds = context_of(None, ance={})
    others = of_rounds.config.evaluate.model_copy(update={"bm25_b": 0.5})
    changed = replace(of_rounds, config=of_rounds.config.model_copy(update={"evaluate": others}))
    assert len({stage.config_fingerprint(c) for c in (context, of_rounds, changed)}) == 3


def test_rounds_are_in_the_artifact(tmp_path):
    """Its manifest lists the lists and the weights of every round, and nothing with a duration."""
    write_tiny_preprocessed(tmp_path / "preprocessed")
    context = context_of(tmp_path, ance={"rounds": 1, "epochs": 1, "negatives": 2, "ranks": [2, 9]})
    manifest = stage.run(context)
    verify_files(tmp_path / "model", manifest)
    assert {"rounds/1/negatives/fit-rows.npy", "rounds/1/weights.npz"} <= set(manifest.files)
    assert not [name for name in manifest.files if "result" in name or "log" in name]
    assert [facts["round"] for facts in manifest.details["rounds"]] == [0, 1]
    assert "round 1 of 1: fit examples 420" in "\n".join(context.reporter.messages)


def test_without_its_parent_it_says_so(tmp_path):
    with pytest.raises(MissingArtifact, match="there is no finished 'preprocessed' artifact"):
        stage.run(context_of(tmp_path))


def test_messages_are_passed_on(tmp_path):
    context = context_of(tmp_path)
    TrainingProgress(context)(StepReport(0, 0, 0.0, {}, 0.0, 0.0, 0.0, message="lowered"))
    assert context.reporter.messages == ["lowered"]
