"""Worlds whose structure lies in one window only, from tables to the report.

Wherever events of a window are learned from before they may be, a figure leaves chance. The worlds
have a small cascade (EASE and popularity), and `training.refit` is on: only what the refit trains
may know the validation window. The figures that `export` prints and gates have a test of their own.
"""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipelines.stages import (
    build_index,
    embed,
    evaluate,
    preprocess,
    train,
    train_pre_ranker,
)
from tests.fixtures.window_worlds import (
    CHOICES,
    EXTREME,
    NUM_CANDIDATES,
    NUM_QUERIES,
    K,
    chance,
    make_world,
    standard_error,
    world_context,
)
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.artifacts.layout import EVALUATION, FIRST_FIT_WEIGHTS, STATISTICS, WEIGHTS
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.towers.pre_ranker import load_pre_ranker
from tfrs_twotower.towers.storage import load_towers
from tfrs_twotower.training.validation import rank

pytestmark = pytest.mark.integration
METRIC = f"recall@{K}"
DEVIATIONS = 4.0
"""Some sixty figures are compared; a leak moves one by ten standard errors and more."""


@pytest.fixture(scope="module", params=["none", "validation", "test"])
def world(request, tmp_path_factory):
    """A finished run: the structured window, and its context."""
    directory = tmp_path_factory.mktemp(request.param)
    make_world(request.param).write(directory)
    context = world_context(directory, refit=True)
    for stage in (preprocess, train, embed, build_index, train_pre_ranker, evaluate):
        stage.run(context)
    return request.param, context


@pytest.fixture(scope="module")
def report(world):
    _, context = world
    return json.loads((context.layout.report / EVALUATION).read_text(encoding="utf-8"))


def assert_chance(figures, window):
    """Every figure, by name, is that of a ranking that knows nothing of the window."""
    assert figures
    expected, most = chance(window), DEVIATIONS * standard_error(window)
    known = {name: value for name, value in figures.items() if abs(value - expected) > most}
    assert not known, f"chance is {expected:.3f}, at most {most:.3f} away"


def test_every_system_is_at_chance_on_test(report):
    systems = report["systems"]
    assert systems.keys() >= {"retrieval", "cascade", "popularity", "item_knn", "ease"}
    assert_chance({n: system["metrics"][METRIC]["mean"] for n, system in systems.items()}, "test")
    assert report["leakage_check"]["verdict"] == "clean"


def test_baselines_are_chosen_by_figures_at_chance(report):
    tried = {
        (name, place): entry[METRIC]
        for name, settings in report["protocol"]["baselines"].items()
        for place, entry in enumerate(settings.get("validation", ()))
    }
    assert {name for name, _ in tried} >= {"item_knn", "ease"}
    assert_chance(tried, "validation")


def test_figures_of_training_are_at_chance(world):
    _, context = world
    model = read_manifest(context.layout.model, "model").details["validation"]
    pre_ranker = read_manifest(context.layout.pre_ranker, "pre_ranker").details["validation"]
    assert set(pre_ranker) == {f"retrieval {METRIC}", f"cascade {METRIC}"}
    assert_chance({"model": model[METRIC], **pre_ranker}, "validation")


def recall_on_validation(context, weights):
    """Recall of the towers with these weights."""
    layout, spec = context.layout, context.spec
    corpus = load_corpus(layout.preprocessed, spec)
    queries = load_query_set(layout.preprocessed, "validation", spec, corpus)
    towers = load_towers(layout.model, weights)
    vectors = [
        tower({name: tf.constant(values) for name, values in raw.items()}).numpy()
        for tower, raw in ((towers.query, queries.inputs), (towers.candidate, corpus.raw))
    ]
    return per_query(METRIC, judge(rank(*vectors, queries, K), queries.truth)).mean()


def test_only_the_refit_knows_the_validation_window(world):
    """Otherwise a leak would not show in these worlds."""
    _, context = world
    first, refitted = (recall_on_validation(context, w) for w in (FIRST_FIT_WEIGHTS, WEIGHTS))
    assert_chance({"first fit": first}, "validation")
    known = chance("validation") + DEVIATIONS * standard_error("validation")
    assert refitted > known
    pre_ranker = load_pre_ranker(context.layout.pre_ranker)
    counted = np.expm1(pre_ranker.candidate_signals.numpy()[:, 0]).sum()
    assert counted == pytest.approx(NUM_QUERIES * (CHOICES["train"] + CHOICES["validation"]))


def test_statistics_vocabularies_and_frequencies_are_those_of_training(world):
    """A query and a candidate of the test window alone have extreme numbers."""
    _, context = world
    preprocessed = context.layout.preprocessed
    statistics = json.loads((preprocessed / STATISTICS).read_text(encoding="utf-8"))["numeric"]
    counts = {"query.query_number": NUM_QUERIES, "candidate.candidate_number": NUM_CANDIDATES}
    assert {name: each["count"] for name, each in statistics.items()} == counts
    for each in statistics.values():
        assert abs(each["mean"]) < 0.5
        assert each["max"] < 10 < EXTREME
    for name, size in (("query", NUM_QUERIES), ("candidate", NUM_CANDIDATES)):
        text = (preprocessed / "vocabularies" / f"{name}.txt").read_text(encoding="utf-8")
        assert len(text.splitlines()) == size
    (path,) = preprocessed.glob("frequencies-*.parquet")
    frequencies = pq.read_table(path).to_pydict()
    assert sum(frequencies["count"]) == NUM_QUERIES * CHOICES["train"]
    assert min(frequencies["count"]) == 0, "the candidate of the test window is in the corpus"
