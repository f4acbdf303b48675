import numpy as np
import pytest

from tests.contracts.searcher_contract import unit_vectors
from tfrs_twotower.config import IndexConfig
from tfrs_twotower.errors import IndexQualityError
from tfrs_twotower.index.build import build_index
from tfrs_twotower.index.exact_search import to_int8
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.index.sweep import (
    Measured,
    MeasuredQueries,
    blend,
    choose,
    sample_queries,
)
from tfrs_twotower.ranking import Overlap


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
    with pytest.raises(
        IndexQualityError, match=r"at most 0\.\d+ \(num_leaves_to_search=1; 0\.\d+ on 50"
    ):
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


def test_rounded_vectors_must_reach_the_target_on_perturbed_queries_too():
    vectors, queries = unit_vectors(300, 16, 6), unit_vectors(50, 16, 7)
    stored = to_int8(vectors)
    exact, rounded = (
        np.argsort(-(queries @ rows.T), axis=1, kind="stable")[:, :10]
        for rows in (vectors, stored.values * stored.scales[:, None])
    )
    is_easy = np.array([set(a) == set(b) for a, b in zip(exact, rounded, strict=True)])
    easy, hard = queries[is_easy], queries[~is_easy]
    config = IndexConfig(kind="brute_force", vectors="int8", k=10, target_overlap=1.0)
    assert build_index(vectors, easy, config, perturbed=easy).quality.perturbed_overlap == 1.0
    with pytest.raises(IndexQualityError, match=r"1\.0000 on .* real queries, 0\.9\d+ on"):
        build_index(vectors, easy, config, perturbed=hard)


def test_scann_without_queries_is_refused():
    with pytest.raises(IndexQualityError, match="no embeddings of validation or test queries"):
        build_index(unit_vectors(50, 4, 0), np.zeros((0, 4), np.float32), IndexConfig(kind="scann"))


def tried(depth, real, perturbed=None):
    worst = perturbed if perturbed is None else Overlap(perturbed, 0.0)
    return Measured(SearchParameters(5, None, depth), Overlap(real, 0.0), 1.0, worst)


def test_a_choice_must_reach_the_target_on_both_kinds_of_queries():
    measured = [tried(10, 0.5), tried(20, 0.92, 0.7), tried(30, 0.95, 0.9), tried(40, 0.99)]
    for target, depth in ((0.9, 30), (0.7, 20), (0.91, 30)):
        assert choose(measured, target).parameters.num_reordering_candidates == depth
    assert tried(10, 0.8, 0.7).least == 0.7
    assert tried(10, 0.8).least == 0.8


def with_copies(num_vectors, copies, dim=8):
    """Many candidates that are word for word the same, such as items without an id feature."""
    return np.repeat(unit_vectors(num_vectors, dim, 0), copies, axis=0)


@pytest.mark.parametrize("kind", ["ivf", "scann"])
def test_candidates_that_tie_are_all_right(kind):
    """By id even a search of everything would share a fifth of the exact lists."""
    if kind == "scann":
        pytest.importorskip("scann")
    config = IndexConfig(kind=kind, k=20)
    quality = build_index(with_copies(4, 100), unit_vectors(60, 8, 1), config).quality
    assert min(quality.overlap, quality.perturbed_overlap) >= 0.98
    if kind == "ivf":
        assert quality.worst_decile == quality.perturbed_worst_decile == 1.0


def test_the_target_holds_for_perturbed_queries_too():
    """Queries of the clusters' centres find everything in one leaf; queries between them do not."""
    random = np.random.default_rng(0)
    centres = unit_vectors(20, 8, 3)
    vectors = centres.repeat(40, axis=0) + 0.05 * random.normal(size=(800, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    config = IndexConfig(kind="ivf", k=10, num_leaves=20)
    between = blend(centres)
    easy = build_index(vectors, centres, config, perturbed=centres).quality
    both = build_index(vectors, centres, config, perturbed=between).quality
    leaves = [one.parameters["num_leaves_to_search"] for one in (easy, both)]
    assert leaves[0] < leaves[1]
    assert min(both.overlap, both.perturbed_overlap) >= 0.98
    assert both.perturbed_worst_decile <= both.perturbed_overlap
    measured = [one for one in both.sweep if one["perturbed_overlap"] is not None]
    assert measured[-1]["num_leaves_to_search"] == leaves[1], "the search stops where it is enough"
    assert measured[0]["perturbed_overlap"] < 0.98
    given = config.model_copy(update={"num_leaves_to_search": leaves[0]})
    with pytest.raises(
        IndexQualityError,
        match=r"on 20 real queries, 0\.\d+ on 20 perturbed ones.*Leave index.num_l",
    ):
        build_index(vectors, centres, given, perturbed=between)


def test_vectors_are_perturbed_by_each_other():
    queries = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
    # The midpoint of the directions, at each query's own length.
    expected = np.array([[2.0], [1.0]]) * 2**-0.5
    np.testing.assert_allclose(blend(queries), expected.repeat(2, axis=1), rtol=1e-6)
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    np.testing.assert_array_equal(blend(opposite), opposite)
    assert blend(queries[:1]).tolist() == [[2.0, 0.0]]
    assert blend(queries[:0]).shape == (0, 2)
    given = MeasuredQueries.of(queries, opposite, limit=1)
    assert (len(given.real), given.perturbed.tolist()) == (1, [[1.0, 0.0]])
    for none in (None, np.zeros((0, 2), np.float32)):
        np.testing.assert_array_equal(MeasuredQueries.of(queries, none).perturbed, blend(queries))


def test_a_sample_is_evenly_spaced_and_keeps_few():
    queries = np.arange(10, dtype=np.float32)[:, None]
    assert sample_queries(queries, 4)[:, 0].tolist() == [0, 3, 6, 9]
    assert len(sample_queries(queries, 99)) == 10
