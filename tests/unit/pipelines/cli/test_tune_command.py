import json

import pytest

from pipelines.tuning import tuning
from pipelines.tuning.tuning_document import Changed, HeldOut, Outcome, Trial, TuningDocument
from tests.unit.pipelines.comparing.documents import write_documents

TRIALS = tuple(
    Trial(
        part="retrieval", number=number, why="search", places={}, changes=changes, state=state,
        gain=gain, metrics={"ndcg@10": 0.1, "recall@100": 0.4} if gain is not None else {},
    )
    for number, (changes, state, gain) in enumerate([
        ({}, "complete", 0.0),
        ({"model.embedding_dim": 32}, "complete", 0.031),
        ({"model.embedding_dim": 8}, "failed", None),
    ])
)  # fmt: skip


def outcome(path, changed=True):
    key = Changed(key="model.embedding_dim", old=16, new=32, reason="wider", figure="best +3.1%")
    return Outcome(
        config=str(path), changed=(key,) if changed else (), reason="it is +2.0% ahead", gain=0.031,
        held_out_gain=0.02, held_out_p=0.04,
        held_out=(HeldOut(metric="ndcg@10", unchanged=0.1, tuned=0.102, p=0.04),),
        importance={"model.embedding_dim": 1.0},
    )  # fmt: skip


@pytest.fixture
def planned(monkeypatch):
    """What would have been searched; its result is planted."""
    calls = []

    def tune(context, plan):
        calls.append((context, plan))
        return TuningDocument(
            search="f", run="one", metrics=("ndcg@10", "recall@100"), seed=plan.seed,
            search_queries=50, held_out_queries=40, trials=TRIALS, outcome=outcome(plan.out),
        )  # fmt: skip

    monkeypatch.setattr(tuning, "tune", tune)
    return calls


def test_it_prints_the_trials_and_what_they_are_worth(call, planned, tmp_path, monkeypatch):
    documents = write_documents(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = call("tune", documents / "one.yaml", "-w", tmp_path / "w", "--minutes", 20)
    assert result.code == 0, result.err
    ((context, plan),) = planned
    assert (plan.metrics, plan.seed) == (("ndcg@10", "recall@100"), 0)
    assert (plan.trials, plan.minutes, str(plan.out)) == (None, 20.0, "one_tuned.yaml")
    assert context.layout.root == tmp_path / "w"
    lines = result.out.splitlines()
    best = next(number for number, line in enumerate(lines) if "retrieval 1" in line)
    assert "+3.10%" in lines[best]
    assert "model.embedding_dim=32" in lines[best]
    assert "as it is" in lines[best + 1]
    assert "Held out: ndcg@10 0.1000 -> 0.1020 (p = 0.040)" in lines
    assert "Changed: it is +2.0% ahead." in lines
    assert lines[-2:] == [
        f"Every trial: {tmp_path / 'w' / 'tuning' / 'index.html'}", "Run config: one_tuned.yaml",
    ]  # fmt: skip


def test_json_is_one_object(call, planned, tmp_path):
    documents = write_documents(tmp_path)
    result = call(
        *("tune", documents / "one.yaml", "-w", tmp_path / "w", "--trials", 3, "--seed", 5),
        *("--metric", "mrr@10", "--metric", "recall@20", "--out", tmp_path / "o", "--json"),
        *("--set", "training.epochs=2"),
    )
    answer = json.loads(result.out)
    assert answer["config"] == str(tmp_path / "o" / "one_tuned.yaml")
    assert answer["trials"] == str(tmp_path / "w" / "tuning" / "tuning.json")
    assert answer["page"] == str(tmp_path / "w" / "tuning" / "index.html")
    assert answer["trained"] == 3
    assert answer["changed"][0]["new"] == 32
    ((context, plan),) = planned
    assert (plan.metrics, plan.trials, plan.seed) == (("mrr@10", "recall@20"), 3, 5)
    assert context.config.training.epochs == 2
    assert plan.overrides == ("training.epochs=2",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "give --minutes, --trials or both"),
        (("--trials", 3, "--metric", "ndgc@10"), "'ndgc@10' is not a ranking metric"),
        (("--trials", 3, "--metric", "map@10"), "'map@10' is not measured in training"),
        (("--trials", 0), "Invalid value for '--trials'"),
    ],
)
def test_wrong_usage_is_told_before_anything_runs(call, planned, tmp_path, options, words):
    documents = write_documents(tmp_path)
    result = call("tune", documents / "one.yaml", "-w", tmp_path / "w", *options)
    assert result.code == 2
    assert words in " ".join(result.err.replace("│", " ").split())
    assert planned == []
    assert not (tmp_path / "w").exists()


def test_a_tuned_config_is_not_overwritten_by_mistake(call, planned, tmp_path):
    documents = write_documents(tmp_path)
    existing = tmp_path / "one_tuned.yaml"
    existing.write_text("mine")
    command = ("tune", documents / "one.yaml", "-w", tmp_path / "w", "--trials", 3)
    result = call(*command, "--out", tmp_path)
    assert result.code == 1
    assert f"{existing}: exists. Give --force" in result.err
    assert planned == []
    assert existing.read_text() == "mine"
    assert call(*command, "--out", tmp_path, "--force").code == 0
