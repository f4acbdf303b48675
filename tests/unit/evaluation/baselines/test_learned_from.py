"""Which events each baseline may know: every law changes the events of one window.

The matrix for test is learned from training (with refit: and validation) events; a test query's
profile always has its validation events; settings are chosen with training events alone, on
validation queries. Test events serve as truth only.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from tests.unit.evaluation.world import NUM_CANDIDATES, NUM_QUERIES, make_world
from tfrs_twotower.closed_form.ease import co_occurrences, ease_weights
from tfrs_twotower.closed_form.neighbours import cosine_neighbours
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation.baselines.fitting_baselines import fit_baselines
from tfrs_twotower.evaluation.baselines.selection import select
from tfrs_twotower.ranking import GroundTruth

TRAIN, VALIDATION, TEST = 0, 1, 2
METRICS = ("ndcg@5", "recall@10")
TESTED = np.arange(0, NUM_QUERIES, 2)
EVERYBODY = np.arange(NUM_QUERIES)


def with_negatives():
    """Two of six training events of a query do not count as relevant: both kinds are tried."""
    inputs = make_world()
    log = inputs.log
    positive = (log.split > TRAIN) | (np.arange(len(log)) % 3 > 0)
    return replace(inputs, log=replace(log, positive=positive), test=inputs.test.take(TESTED))


INPUTS = with_negatives()


def changed(split, queries=EVERYBODY):
    """The world in which these queries chose other candidates in this window."""
    log = INPUTS.log
    moved = (log.split == split) & np.isin(log.query, queries)
    candidate = np.where(moved, (log.candidate * 7 + 5) % NUM_CANDIDATES, log.candidate)
    assert (candidate != log.candidate).any()
    return replace(INPUTS, log=replace(log, candidate=candidate))


def fitted(inputs, *, refit):
    config = EvaluateConfig(ks=(5, 10), item_knn_neighbours=(2, 30), ease_lambda=(1.0, 50.0))
    names = select(inputs, config, refit=refit).names
    fits = fit_baselines(names, inputs, config, refit=refit, recent_days=0.05, metrics=METRICS)
    return {
        fit.name: (fit.settings, {metrics: scorer() for metrics, scorer in fit.variants})
        for fit in fits
    }


def scores(baselines):
    """`[num_test_queries, num_candidates]` by name and the metric that the settings are for."""
    queries = np.arange(len(TESTED))
    return {
        (name, metric): np.array(scorer(queries))
        for name, (_, variants) in baselines.items()
        for metrics, scorer in variants.items()
        for metric in metrics
    }


def tried(baselines):
    return {name: settings.validation for name, (settings, _) in baselines.items()}


@pytest.fixture(scope="module", params=[False, True], ids=["train", "refit"])
def refit(request):
    return request.param


@pytest.fixture(scope="module")
def plain(refit):
    return fitted(INPUTS, refit=refit)


def same(first, second):
    assert first.keys() == second.keys()
    return {name: np.array_equal(values, second[name]) for name, values in first.items()}


def test_no_baseline_knows_a_test_event(plain, refit):
    other = fitted(changed(TEST), refit=refit)
    assert all(same(scores(plain), scores(other)).values())
    assert tried(other) == tried(plain)


def test_validation_events_of_others_are_learned_from_in_a_refit_only(plain, refit):
    others = np.setdiff1d(EVERYBODY, TESTED)
    found = same(scores(plain), scores(fitted(changed(VALIDATION, others), refit=refit)))
    assert set(found.values()) == {not refit}, found


def test_a_profile_holds_the_querys_own_validation_events(plain, refit):
    other = scores(fitted(changed(VALIDATION, TESTED[:1]), refit=refit))
    for name, own in scores(plain).items():
        if "popularity" not in name[0]:
            assert (own[0] != other[name][0]).any(), name
            if not refit:
                np.testing.assert_array_equal(own[1:], other[name][1:], err_msg=str(name))


def test_training_events_are_learned_from(plain, refit):
    found = same(scores(plain), scores(fitted(changed(TRAIN), refit=refit)))
    assert not any(found.values()), found


def test_settings_are_chosen_without_validation_or_test_events(plain, refit):
    for window in (VALIDATION, TEST):
        assert tried(fitted(changed(window), refit=refit)) == tried(plain)
    assert tried(fitted(changed(TRAIN), refit=refit)) != tried(plain)


def test_settings_are_chosen_on_validation_queries(plain, refit):
    few = INPUTS.test.take([0, 1])
    turned = GroundTruth.from_lists([[NUM_CANDIDATES - 1], [NUM_CANDIDATES - 2]])
    other_test = replace(INPUTS, test=replace(few, truth=turned))
    assert tried(fitted(other_test, refit=refit)) == tried(plain)
    validation = INPUTS.validation
    turned = GroundTruth.from_lists([[row % NUM_CANDIDATES] for row in range(len(validation))])
    other_validation = replace(INPUTS, validation=replace(validation, truth=turned))
    assert tried(fitted(other_validation, refit=refit)) != tried(plain)


def events(splits, *, positives_only):
    """`[num_queries, num_candidates]` of 0 and 1, event by event."""
    matrix = np.zeros((NUM_QUERIES, NUM_CANDIDATES), np.float32)
    log = INPUTS.log
    for query, candidate, split, positive in zip(
        log.query, log.candidate, log.split, log.positive, strict=True
    ):
        if split in splits and (positive or not positives_only):
            matrix[query, candidate] = 1.0
    return matrix


def test_scores_equal_those_of_the_stated_windows(plain, refit):
    """The settings say what was learned; a loop over the events gives the same scores."""
    windows = (TRAIN, VALIDATION) if refit else (TRAIN,)
    found = scores(plain)
    for name, metric in itertools.product(("ease", "item_knn"), METRICS):
        settings = plain[name][0].chosen_for[metric]
        kind = settings["interactions"] == "positive"
        learned = sparse.csr_matrix(events(windows, positives_only=kind))
        profiles = events((TRAIN, VALIDATION), positives_only=kind)[TESTED]
        if name == "ease":
            weights = ease_weights(co_occurrences(learned), settings["lambda"])
        else:
            weights = cosine_neighbours(learned, settings["neighbours"]).toarray()
        np.testing.assert_allclose(
            found[name, metric], profiles @ weights, atol=1e-5, err_msg=f"{name} {metric}"
        )
    counts = events(windows, positives_only=True).sum(axis=0)
    np.testing.assert_array_equal(found["popularity", METRICS[0]][0], counts)
