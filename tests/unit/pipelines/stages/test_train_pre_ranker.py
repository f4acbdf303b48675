import json
from types import SimpleNamespace

import pytest

from pipelines.stages import mine, training_runs
from pipelines.stages import train_pre_ranker as stage
from pipelines.stages.context import StageContext
from tests.fixtures.recorder import Killed, Recorder
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tests.fixtures.tiny_model import write_tiny_model
from tfrs_twotower.artifacts import Layout, read_manifest, verify_files
from tfrs_twotower.errors import ConfigError, MissingArtifact
from tfrs_twotower.towers.pre_ranker import load_pre_ranker

MEMBER = {
    "kind": "inttower",
    "embedding_dim": 8,
    "head_dim": 4,
    "transformer": {"num_layers": 1, "num_heads": 2, "feed_forward_dim": 8},
}
PRE_RANKING = {
    "num_candidates": 20,
    "models": [MEMBER],
    "mining": {"depth": 5},
    "list_size": 3,
    "batch_size": 64,
    "epochs": None,
    "max_steps": 4,
    "checkpoint_every_steps": 2,
}


def context_of(root, reporter=None, sections=None, **changes):
    config = tiny_run_config(pre_ranking={**PRE_RANKING, **changes}, **(sections or {}))
    return StageContext(Layout(root), tiny_spec(), config, root, reporter or Recorder())


def test_without_a_pre_ranking_section_it_says_so(tmp_path):
    context = context_of(tmp_path)
    bare = StageContext(context.layout, context.spec, tiny_run_config(), tmp_path, Recorder())
    with pytest.raises(ConfigError, match="run 'tiny': the run config has no pre_ranking section"):
        stage.run(bare)


def test_why_the_order_of_retrieval_is_kept(tmp_path):
    context = context_of(tmp_path)
    facts = {"order": "retrieval", "reason": "it is not better", "gain": 0.01}
    facts |= {"loss_gain": 0.002, "loss_gain_standard_error": 0.004}
    figures = {"ndcg@10": 0.5}
    result = SimpleNamespace(validation=figures, weights={"ease_all": 0}, combination=facts)
    stage._report_result(context, result)
    assert context.reporter.messages[-2:] == [
        "On validation, out of fold: ndcg@10 0.5000; weights: ease_all 0",
        "The order of retrieval is kept: it is not better (metric +0.0100, loss lower by 0.0020 at "
        "a standard error of 0.0040)",
    ]


def test_a_killed_stage_continues_and_writes_an_artifact(tmp_path, monkeypatch):
    monkeypatch.setattr(training_runs, "_REPORT_EVERY_S", 0.0)
    write_tiny_model(context_of(tmp_path))
    with pytest.raises(MissingArtifact, match="there is no finished 'negatives' artifact"):
        stage.run(context_of(tmp_path))
    mine.run(context_of(tmp_path))
    with pytest.raises(Killed, match="now"):
        stage.run(context_of(tmp_path, Recorder(lambda _, step: step >= 3)))
    assert not (tmp_path / "pre_ranker").exists()
    context = context_of(tmp_path)
    manifest = stage.run(context)
    assert context.reporter.messages[0] == "Continuing a training that was interrupted."
    assert [step[1] for step in context.reporter.steps] == [3, 4]
    figures = context.reporter.messages[-1]
    assert figures.startswith("On validation, out of fold: retrieval ndcg@10 0.")
    # Retrieval has hardly been trained here: what is popular orders its candidates better.
    facts = manifest.details["combination"]
    assert facts["order"] == "combination"
    assert facts["loss_gain"] > facts["loss_gain_standard_error"] > 0
    assert facts["gain"] > 0
    assert any(list(manifest.details["weights"].values())[1:])

    verify_files(tmp_path / "pre_ranker", manifest)
    assert read_manifest(tmp_path / "pre_ranker", "pre_ranker") == manifest
    assert manifest.config_fingerprint == stage.config_fingerprint(context)
    assert manifest.parents == {
        kind: read_manifest(tmp_path / kind, kind).fingerprint
        for kind in ("preprocessed", "model", "negatives")
    }
    assert {"combination.json", "candidate_signals.npy"} <= set(manifest.files)
    assert {"member-0/weights.npz", "member-0/candidate_heads.npy"} <= set(manifest.files)
    rest = ("checkpoint", "resum", "result", "validation_interaction", "training_log")
    assert not [name for name in manifest.files if any(word in name for word in rest)]
    assert manifest.counts == {"members": 1, "train_examples": 420, "steps": 4}
    weights = json.loads((tmp_path / "pre_ranker" / "combination.json").read_text())
    assert manifest.details["weights"] == dict(
        zip(weights["features"], weights["weights"], strict=True)
    )
    assert set(manifest.details["validation"]) == {"retrieval ndcg@10", "cascade ndcg@10"}
    assert len(load_pre_ranker(tmp_path / "pre_ranker").members) == 1


def test_the_fingerprint_is_of_what_the_training_reads():
    def of(sections=None, **changes):
        return stage.config_fingerprint(context_of(None, sections=sections, **changes))

    training = tiny_run_config().training.model_dump(mode="json")
    assert of() == of()
    assert of() != of(list_size=2)
    assert of() != of(models=[{**MEMBER, "head_dim": 5}])
    assert of() != of({"seed": 8})
    assert of() != of({"training": {**training, "refit": True}})
    assert of() != of({"training": {**training, "time_decay_half_life_days": 3.0}})
    # Whether the towers changed is said by the model's fingerprint, which is a parent.
    assert of() == of({"training": {**training, "epochs": 9}})
    assert of() == of({"evaluate": {"bm25_k1": 2.0}})
