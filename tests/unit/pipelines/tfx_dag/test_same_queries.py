"""Recall of two versions on the same queries, with versions that answer from a list."""

import dataclasses

import numpy as np
import pytest

from pipelines.tfx_dag import same_queries
from tests.fixtures.recorder import Recorder
from tfrs_twotower.config import EvaluateConfig, RunConfig
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import UnsupportedEnvironment

IDS = [f"c{number}" for number in range(9)]
CORPUS = Corpus(np.array(IDS, object), np.array([""] * 9, object), {})
RELEVANT = [["c0", "c1"], ["c2"], ["c3", "c8"]]


def query_set(relevant=RELEVANT, seen=None):
    towns = np.array([b"t%d" % number for number in range(len(relevant))], object)
    return QuerySet.of(CORPUS, {"town": towns, "age": towns}, relevant, seen)


@dataclasses.dataclass
class Version:
    """A version that gives everybody one list, without what is excluded."""

    listed: list

    def inputs(self, signature):
        return {"town": None, "exclude_ids": None}

    def call(self, signature, inputs):
        assert inputs.keys() == {"town", "exclude_ids"}
        rows = []
        for excluded in inputs["exclude_ids"].tolist():
            left = [name for name in self.listed if name not in excluded]
            rows.append([name.encode() for name in (left + [""] * 4)[:4]])
        return {"candidate_ids": np.array(rows, object)}


@pytest.fixture
def versions(monkeypatch):
    found = {}

    def load(path):
        if path not in found:
            raise UnsupportedEnvironment(f"{path}: needs ScaNN")
        return found[path]

    monkeypatch.setattr(same_queries.loading, "load_bundle", load)
    return found


def test_recall_is_found_of_relevant_without_what_was_seen(versions):
    versions["v"] = Version(["c0", "c3", "c1", "unknown"])
    found = same_queries.recalls("v", query_set(seen=[[], [], ["c0"]]), CORPUS, (1, 3))
    # By hand: {c0} of {c0, c1} then both; nothing of {c2}; c3 is first once c0 is left out.
    assert found.tolist() == [[1 / 2, 1.0], [0.0, 0.0], [1 / 2, 1 / 2]]


def test_more_queries_than_are_asked_at_once(versions):
    versions["v"] = Version(["c0", "c3"])
    relevant = [["c0"] if number % 3 == 0 else ["c5"] for number in range(150)]
    found = same_queries.recalls("v", query_set(relevant), CORPUS, (2,))
    assert found[:, 0].tolist() == [float(number % 3 == 0) for number in range(150)]


def run_of(monkeypatch, queries, drop=0.05):
    monkeypatch.setattr(same_queries, "load_corpus", lambda *_: CORPUS)
    monkeypatch.setattr(same_queries, "load_query_set", lambda *_: queries)
    config = RunConfig(name="r", spec="s.yaml", evaluate=EvaluateConfig(ks=(1, 100)))
    gate = config.export.gate.model_copy(update={"max_recall_drop": drop})
    export = config.export.model_copy(update={"gate": gate})

    @dataclasses.dataclass
    class Run:
        config: RunConfig
        layout: object = dataclasses.field(
            default_factory=lambda: type("L", (), {"preprocessed": ""})
        )
        spec: None = None
        reporter: Recorder = dataclasses.field(default_factory=Recorder)

    return Run(config.model_copy(update={"export": export}))


@pytest.mark.parametrize(
    ("worse", "drop", "reasons"),
    [
        (0, 0.05, 0),
        (3, 0.05, 0),  # 3 of 30 is a fall of 10 %, and p is 2 / 2^3
        (6, 0.05, 1),  # p is 2 / 2^6
        (6, 0.2, 0),  # a fall of 20 % is allowed, and this is one
        (6, 0.19, 1),
        (30, None, 0),  # the check is switched off
    ],
)
def test_a_fall_that_is_no_chance_and_too_large_is_a_reason(
    monkeypatch, versions, worse, drop, reasons
):
    relevant = [["c0"]] * worse + [["c1"]] * (30 - worse)
    versions["new"] = Version(["c1"])
    versions["served"] = BothFirst(worse)
    found = list(
        same_queries.falls(run_of(monkeypatch, query_set(relevant), drop), "new", "served")
    )
    assert len(found) == reasons
    if reasons:
        assert f"recall@1 is {1 - worse / 30:.4f} on 30 test queries, 20.0% less" in found[0]
        assert "the 1.0000 that the served version has on the same queries (p 0.031" in found[0]


class BothFirst(Version):
    """Answers c0 to the first queries of each request and c1 to the others."""

    def __init__(self, number):
        super().__init__([])
        self.number = number

    def call(self, signature, inputs):
        rows = [[b"c0" if at < self.number else b"c1"] for at in range(len(inputs["town"]))]
        return {"candidate_ids": np.array(rows, object)}


def test_a_served_version_that_cannot_be_asked_is_said_and_no_reason(monkeypatch, versions):
    versions["new"] = Version(["c1"])
    run = run_of(monkeypatch, query_set())
    assert list(same_queries.falls(run, "new", "served")) == []
    assert run.reporter.messages == ["not compared on the same queries: served: needs ScaNN"]
