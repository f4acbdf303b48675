"""Overlap is that of whole lists: searches whose lists are half right, and an exact recount."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.searcher_contract import unit_vectors
from tfrs_twotower.config import IndexConfig, stage_configs
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import IndexQualityError
from tfrs_twotower.index import sweep as sweep_module
from tfrs_twotower.index.build import build_index
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.index.storage import Index
from tfrs_twotower.index.sweep import MeasuredQueries, measure_overlap, sweep
from tfrs_twotower.ranking import ExactLists

VECTORS, QUERIES = unit_vectors(60, 8, 0), unit_vectors(12, 8, 1)
K = 6


class HalfRight:
    """The first `num_right` of exact search, then the candidates that fit worst."""

    def __init__(self, num_right):
        self._num_right = num_right

    def search(self, embeddings, k, excluded_rows=None, permits=None, **options):
        scores = tf.matmul(embeddings, VECTORS, transpose_b=True)
        best = tf.math.top_k(scores, self._num_right).indices
        worst = tf.math.top_k(-scores, k - self._num_right).indices
        rows = tf.concat([best, worst], axis=1)
        return tf.gather(scores, rows, batch_dims=1), rows


@pytest.mark.parametrize("num_right", [1, 3, 5, 6])
def test_overlap_counts_the_whole_list(num_right):
    search = HalfRight(num_right)
    grid = [SearchParameters(K, 1, None)]
    queries = MeasuredQueries.of(QUERIES)
    (measured,) = sweep(search, VECTORS, grid, queries, 0.0, lambda done, total: None)
    assert measured.real.mean == pytest.approx(num_right / K, abs=1e-6)
    exact = ExactLists.of(QUERIES, VECTORS, K)
    overlap = measure_overlap(lambda asked: search.search(asked, K)[1], exact)
    assert overlap.mean == pytest.approx(num_right / K, abs=1e-6)


@pytest.mark.parametrize(("most", "measured"), [(300, 1), (400, 2), (720, 3)])
def test_a_large_corpus_is_not_scored_whole_once_the_target_is_reached(monkeypatch, most, measured):
    """12 queries and 60 candidates; the choices look at a quarter, a half, and all of them."""
    monkeypatch.setattr(sweep_module, "_MOST_PAST_TARGET", most)
    grid = [SearchParameters(K, leaves, None) for leaves in (1, 2, 4)]
    queries = MeasuredQueries.of(QUERIES)
    found = sweep(HalfRight(K), VECTORS, grid, queries, 0.9, lambda done, total: None)
    assert len(found) == measured
    missed = sweep(HalfRight(1), VECTORS, grid, queries, 0.9, lambda done, total: None)
    assert len(missed) == 3


def test_a_daily_run_measures_no_choice_beyond_the_one_that_it_takes():
    """HalfRight finds four of six: a target of .6 is reached at once, one of .9 never."""
    grid = [SearchParameters(K, leaves, None) for leaves in (1, 2, 4)]
    queries, report = MeasuredQueries.of(QUERIES), (lambda done, total: None)
    short = sweep(HalfRight(4), VECTORS, grid, queries, 0.6, report, to_target=True)
    assert len(short) == 1
    whole = sweep(HalfRight(4), VECTORS, grid, queries, 0.6, report)
    assert len(whole) == 3
    assert sweep_module.choose(short, 0.6).parameters == sweep_module.choose(whole, 0.6).parameters
    assert len(sweep(HalfRight(4), VECTORS, grid, queries, 0.9, report, to_target=True)) == 3


@pytest.mark.parametrize("settings", [{"kind": "ivf", "num_leaves": 20}, {"vectors": "int8"}])
def test_the_built_index_has_the_overlap_that_its_quality_states(settings):
    vectors, queries = unit_vectors(400, 16, 2), unit_vectors(30, 16, 3)
    if "kind" in settings:
        settings = {**settings, "num_leaves_to_search": 6}
    else:
        settings = {**settings, "kind": "brute_force"}
    built = build_index(vectors, queries, IndexConfig(k=40, target_overlap=0.1, **settings))
    names = np.array([f"c{row:03d}" for row in range(400)], object)
    index = Index.of(Corpus(names, names, {}, vectors), built)
    rows = index.search(max_excluded=0).search(tf.constant(queries), 40)[1].numpy()
    exact = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :40]
    shares = [len(set(r) & set(e)) / 40 for r, e in zip(rows.tolist(), exact.tolist(), strict=True)]
    assert built.quality.overlap == pytest.approx(np.mean(shares), abs=1e-6)
    assert built.quality.overlap < 1.0


def test_the_target_is_refused_just_above_the_overlap_and_accepted_at_it():
    vectors, queries = unit_vectors(400, 16, 4), unit_vectors(30, 16, 5)
    config = IndexConfig(kind="ivf", k=10, num_leaves=20, num_leaves_to_search=4)

    def overlap(target):
        settings = config.model_copy(update={"target_overlap": target})
        return build_index(vectors, queries, settings).quality.overlap

    reached = overlap(0.1)
    assert 0.3 < reached < 0.95
    assert overlap(reached) == reached
    with pytest.raises(IndexQualityError, match=rf"at most {reached:.4f} .*the target is"):
        overlap(reached + 0.01)


@pytest.mark.parametrize(
    ("num_candidates", "most"), [(10, 2000), (500_000, 2000), (1_000_000, 1000), (10**7, 500)]
)
def test_a_large_corpus_is_measured_on_fewer_queries(num_candidates, most):
    assert IndexConfig().most_measured(num_candidates) == most
    assert IndexConfig(num_measured_queries=70).most_measured(num_candidates) == 70


def test_an_index_is_measured_on_as_many_queries_as_its_corpus_allows(monkeypatch):
    """400 candidates: 8,000 scores are 20 queries of each kind; without the limit all 30."""
    vectors, queries = unit_vectors(400, 16, 2), unit_vectors(30, 16, 3)
    config = IndexConfig(kind="ivf", k=10, num_leaves=20, target_overlap=0.1)
    assert build_index(vectors, queries, config).quality.num_queries == 30
    monkeypatch.setattr(stage_configs, "_MEASURED_SCORES", 8_000)
    monkeypatch.setattr(stage_configs, "_FEWEST_MEASURED", 5)
    assert build_index(vectors, queries, config).quality.num_queries == 20
