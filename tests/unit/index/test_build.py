import numpy as np
import pytest

from tests.contracts.searcher_contract import unit_vectors
from tfrs_twotower.config import IndexConfig
from tfrs_twotower.errors import IndexQualityError
from tfrs_twotower.index.build import build_index
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.index.sweep import Measured, choose, sample_queries


def test_exact_search_has_full_overlap():
    quality = build_index(unit_vectors(30, 4, 0), unit_vectors(5, 4, 1), IndexConfig(k=10)).quality
    assert (quality.kind, quality.overlap, quality.k, quality.sweep) == ("brute_force", 1.0, 10, [])
    assert quality.exact_p50_ms > 0


@pytest.mark.parametrize("num_candidates", [1, 15, 16, 300])
def test_scann_on_small_corpora(num_candidates):
    pytest.importorskip("scann")
    config = IndexConfig(kind="scann", k=20, num_leaves=100)
    built = build_index(unit_vectors(num_candidates, 4, 0), unit_vectors(40, 4, 1), config)
    assert built.quality.k == min(20, num_candidates)
    assert built.quality.overlap >= 0.98
    assert len(built.quality.sweep) >= 1


def test_the_cheapest_choice_that_reaches_the_target_is_taken():
    pytest.importorskip("scann")
    config = IndexConfig(kind="scann", k=5, num_leaves=30, target_overlap=0.9)
    quality = build_index(unit_vectors(600, 8, 2), unit_vectors(50, 8, 3), config).quality
    reached = [one["overlap"] >= 0.9 for one in quality.sweep]
    chosen = quality.sweep[reached.index(True)]
    assert quality.overlap == chosen["overlap"]
    assert quality.parameters["num_leaves_to_search"] == chosen["num_leaves_to_search"]


def test_a_missed_target_stops_the_build_and_says_what_to_do():
    pytest.importorskip("scann")
    config = IndexConfig(
        kind="scann", k=10, num_leaves=50, num_leaves_to_search=1, num_reordering_candidates=10
    )
    with pytest.raises(IndexQualityError, match=r"at most 0\.\d+ .*target is 0\.98.*brute_force"):
        build_index(unit_vectors(1000, 16, 4), unit_vectors(50, 16, 5), config)


@pytest.mark.parametrize("num_candidates", [1, 300])
def test_ivf_on_small_corpora(num_candidates):
    config = IndexConfig(kind="ivf", k=20)
    quality = build_index(
        unit_vectors(num_candidates, 4, 0), unit_vectors(40, 4, 1), config
    ).quality
    assert quality.kind == "ivf"
    assert quality.overlap >= 0.98
    assert set(quality.sweep[0]) >= {"num_leaves_to_search", "overlap", "p50_ms"}
    chosen = quality.parameters["num_leaves_to_search"]
    assert chosen in [one["num_leaves_to_search"] for one in quality.sweep]


def test_ivf_that_misses_the_target_names_the_leaves():
    config = IndexConfig(kind="ivf", k=10, num_leaves=50, num_leaves_to_search=1)
    with pytest.raises(IndexQualityError, match=r"at most 0\.\d+ \(num_leaves_to_search=1, 50"):
        build_index(unit_vectors(1000, 16, 4), unit_vectors(50, 16, 5), config)


def test_int8_is_measured_and_gated():
    vectors, queries = unit_vectors(300, 16, 6), unit_vectors(50, 16, 7)
    config = IndexConfig(kind="brute_force", vectors="int8", k=10, target_overlap=0.9)
    built = build_index(vectors, queries, config)
    assert 0.9 <= built.quality.overlap < 1.0
    assert built.int8
    strict = config.model_copy(update={"target_overlap": 1.0})
    with pytest.raises(IndexQualityError, match=r"of int8 vectors with float32 is 0\.\d+.*float32"):
        build_index(vectors, queries, strict)


def test_scann_without_queries_is_refused():
    with pytest.raises(IndexQualityError, match="no embeddings of validation or test queries"):
        build_index(unit_vectors(50, 4, 0), np.zeros((0, 4), np.float32), IndexConfig(kind="scann"))


def test_choice_falls_back_to_the_most_overlap():
    tried = [Measured(SearchParameters(5, None, n), n / 100, 1.0) for n in (10, 50, 30)]
    assert choose(tried, 0.2).parameters.num_reordering_candidates == 50
    assert choose(tried, 0.9).parameters.num_reordering_candidates == 50
    assert choose(tried, 0.05).parameters.num_reordering_candidates == 10


def test_a_sample_is_evenly_spaced_and_keeps_few():
    queries = np.arange(10, dtype=np.float32)[:, None]
    assert sample_queries(queries, 4)[:, 0].tolist() == [0, 3, 6, 9]
    assert len(sample_queries(queries, 99)) == 10
