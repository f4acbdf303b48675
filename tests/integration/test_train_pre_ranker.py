"""Retrieval, mining and the pre-ranker's training on the planted data."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_run_config, tiny_spec, write_tiny_preprocessed
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.errors import CorruptArtifact, TrainingError
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.mining.mine import mine
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.pre_ranker import load_pre_ranker
from tfrs_twotower.towers.storage import load_towers, read_weights
from tfrs_twotower.training import pre_ranker_job as pre_ranking
from tfrs_twotower.training.cascade_validation import Pools
from tfrs_twotower.training.combination import Combined
from tfrs_twotower.training.train import train

KEPT = {"user_id", "segment", "history", "item_id", "topics"}
"""Of the planted features; texts would only cost time."""
MEMBER = {
    "kind": "inttower",
    "embedding_dim": 8,
    "num_query_heads": 2,
    "num_candidate_heads": 2,
    "head_dim": 4,
    "id_dropout": 0.1,
}
MEMBERS = [MEMBER, {**MEMBER, "kind": "mol", "head_dim": 6, "history_half_life": 2.0}]
PRE_RANKING = {
    "num_candidates": 20,
    "mining": {"depth": 10, "teacher": "ease"},
    "list_size": 4,
    "list_terms": {"pointwise": 0.2, "listwise_kl": 0.1, "margin_mse": 0.1},
    "batch_size": 64,
    "epochs": 2,
    "optimizer": {"learning_rate": 0.01, "warmup_steps": 5},
    "softmax": {"num_uniform_negatives": 8},
    "checkpoint_every_steps": 2,
}


def spec_of_few_features():
    data = tiny_spec().model_dump(mode="json")
    for side in ("query", "candidate"):
        features = data[side]["features"]
        data[side]["features"] = [each for each in features if each["name"] in KEPT]
    return FeatureSpec.model_validate(data)


SPEC = spec_of_few_features()


def config_of(*, refit, models):
    training = tiny_run_config().training.model_dump(mode="json")
    return tiny_run_config(
        model={"embedding_dim": 8},
        training={**training, "epochs": 2, "refit": refit},
        pre_ranking={**PRE_RANKING, "models": models},
    )


def prepared(root, config):
    """A run up to the mined lists."""
    run = SimpleNamespace(
        config=config,
        preprocessed=root / "preprocessed",
        model=root / "model",
        negatives=root / "negatives",
    )
    write_tiny_preprocessed(run.preprocessed)
    run.model.mkdir()
    train(run.preprocessed, spec=SPEC, config=config, output_dir=run.model)
    run.negatives.mkdir()
    mine(
        SPEC,
        config,
        config.pre_ranking.mining,
        run.preprocessed,
        run.model,
        run.negatives,
        lambda *_: None,
    )
    return run


def pre_rank(run, output, report=lambda _: None):
    output.mkdir(exist_ok=True)
    section = run.config.pre_ranking
    parents = (run.preprocessed, run.model, run.negatives)
    return pre_ranking.train_pre_ranker(SPEC, run.config, section, *parents, output, report)


def digests(directory):
    """Of every file but the log, whose rates differ."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "training_log.jsonl"
    }


@pytest.fixture(scope="module")
def with_refit(tmp_path_factory):
    root = tmp_path_factory.mktemp("with_refit")
    run = prepared(root, config_of(refit=True, models=MEMBERS))
    run.output = root / "pre_ranker"
    run.reports = []
    run.result = pre_rank(run, run.output, run.reports.append)
    return run


def test_the_cascade_is_no_worse_than_retrieval(with_refit):
    values = with_refit.result.validation
    assert set(values) == {"retrieval ndcg@10", "cascade ndcg@10"}
    assert values["cascade ndcg@10"] >= values["retrieval ndcg@10"] > 0.1


def test_what_it_writes(with_refit):
    pre_ranker = load_pre_ranker(with_refit.output)
    assert len(pre_ranker.members) == 2
    assert [member.candidate_heads.shape[1:].as_list() for member in pre_ranker.members] == [
        [2, 4],
        [2 + 2, 6],  # 2 layers x 2 query heads x 2 heads: 8 gates in two rows
    ]
    combination = pre_ranker.combination
    assert combination.num_candidates == 20
    assert combination.features[:3] == ("retrieval", "interaction_0", "interaction_1")
    assert dict(zip(combination.features, combination.weights, strict=True)) == (
        with_refit.result.weights
    )
    names = {path.rpartition("/")[2] for path in digests(with_refit.output)}
    assert not names & {"result.json", "validation_interaction.npy", "checkpoint"}
    assert not list(with_refit.output.rglob("checkpoints"))
    log = (with_refit.output / "training_log.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in log]
    phases = [(entry["member"], entry["phase"]) for entry in entries]
    assert list(dict.fromkeys(phases)) == [(0, "fit"), (0, "refit"), (1, "fit"), (1, "refit")]
    terms = {"retrieval", "interaction", "list_softmax", "pointwise", "listwise_kl", "margin_mse"}
    assert terms <= set(entries[0])
    messages = [report.message for report in with_refit.reports if report.message]
    assert all(message.startswith("member") for message in messages if "batch_size" in message)


def test_the_first_fit_is_kept_apart_from_the_second(with_refit):
    first, second = (
        read_weights(with_refit.model / name) for name in ("first_fit.npz", "weights.npz")
    )
    assert set(first) == set(second)
    assert any((first[name] != second[name]).any() for name in first)
    assert [result.refitted for result in with_refit.result.members] == [True, True]
    assert [result.num_examples for result in with_refit.result.members] == [480, 480]


class Killed(Exception):
    pass


def test_a_run_killed_in_the_second_member_continues_there_and_ends_with_the_same_bytes(
    with_refit, tmp_path
):
    seen = []

    def kill(report):
        seen.append((report.phase, report.step))
        if seen.count(("fit", 3)) == 2 and not report.message:
            raise Killed("now")

    with pytest.raises(Killed, match="now"):
        pre_rank(with_refit, tmp_path, kill)
    assert (tmp_path / "member-0" / "result.json").exists()
    assert not (tmp_path / "combination.json").exists()
    steps = []
    again = pre_rank(
        with_refit, tmp_path, lambda r: steps.append((r.phase, r.step)) if not r.message else None
    )
    assert steps[0] == ("fit", 3), "the first member is not trained again"
    assert again.weights == with_refit.result.weights
    assert again.validation == with_refit.result.validation
    assert digests(tmp_path) == digests(with_refit.output)


def test_lists_of_another_table_are_refused(with_refit, tmp_path):
    other = SimpleNamespace(**{**vars(with_refit), "negatives": tmp_path / "negatives"})
    other.negatives.mkdir()
    for name in ("rows", "scores", "teacher"):
        array = np.load(with_refit.negatives / f"fit-{name}.npy")
        np.save(other.negatives / f"fit-{name}.npy", array[:-1])
    with pytest.raises(CorruptArtifact, match=r"holds 419 lists .* of 420 examples"):
        pre_rank(other, tmp_path / "out")


def test_without_validation_queries_it_says_so(with_refit, tmp_path):
    other = SimpleNamespace(**{**vars(with_refit), "preprocessed": tmp_path / "preprocessed"})
    write_tiny_preprocessed(other.preprocessed)
    path = other.preprocessed / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["validation_queries"] = 0
    path.write_text(json.dumps(manifest))
    with pytest.raises(TrainingError, match=r"pre_ranking fits .* and the split has none"):
        pre_rank(other, tmp_path / "out")


def test_what_is_served_ranks_as_validation_did(tmp_path, monkeypatch):
    run = prepared(tmp_path, config_of(refit=False, models=MEMBERS[1:]))

    def kill(directory):
        raise Killed("now")

    expected = {}

    def combine(pools, interactions, metric):
        """Weights that no feature escapes, whatever these few steps of training are worth."""
        features = pools._features(interactions)
        weights = np.linspace(1.0, 2.0, features.shape[2])
        expected["scores"] = features @ weights
        return Combined(weights, expected["scores"], {"order": "combination"})

    monkeypatch.setattr(Pools, "combine", combine)
    with monkeypatch.context() as patch:
        patch.setattr(pre_ranking, "clear_member", kill)
        with pytest.raises(Killed, match="now"):
            pre_rank(run, tmp_path / "pre_ranker")
    steps = []
    result = pre_rank(run, tmp_path / "pre_ranker", lambda r: steps.append(r.step))
    assert not any(steps), "a run that was killed while it cleaned up trains nothing again"
    corpus = load_corpus(run.preprocessed, SPEC)
    asked = load_query_set(run.preprocessed, "validation", SPEC, corpus)
    towers, pre_ranker = load_towers(run.model), load_pre_ranker(tmp_path / "pre_ranker")

    def tensors(raw):
        return {name: tf.constant(values) for name, values in raw.items()}

    scores = tf.matmul(
        towers.query(tensors(asked.inputs)), towers.candidate(tensors(corpus.raw)), transpose_b=True
    ).numpy()
    for query, row in enumerate(scores):
        row[asked.seen[query]] = -np.inf
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    best = np.take_along_axis(scores, rows, axis=1)
    truth = asked.truth
    retrieved = per_query("ndcg@10", judge(rows, truth)).mean()
    final = pre_ranker.scores(
        pre_ranker.query_heads(tensors(asked.inputs)), tf.constant(rows), tf.constant(best)
    ).numpy()
    served = np.take_along_axis(rows, np.lexsort((rows, -final), axis=1), axis=1)
    cascade = per_query("ndcg@10", judge(served, truth)).mean()
    np.testing.assert_allclose(final, expected["scores"], rtol=1e-4, atol=1e-5)
    assert result.validation["retrieval ndcg@10"] == pytest.approx(retrieved, abs=1e-6)
    assert result.validation["cascade ndcg@10"] == pytest.approx(cascade, abs=1e-6)
    (member,) = result.members
    assert (member.refitted, member.num_examples) == (False, 420)
