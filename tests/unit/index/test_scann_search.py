import ctypes.util
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.searcher_contract import SearcherContract, unit_vectors
from tfrs_twotower.index import scann_search as scann_library
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.index.scann_search import ScannSearch, avx2_flag, library_of, load_scann
from tfrs_twotower.index.scann_training import TrainingParameters, train_scann
from tfrs_twotower.ranking.order import exact_top_k

pytest.importorskip("scann")


@pytest.fixture
def flag():
    flag = avx2_flag(library_of(load_scann()))
    assert flag is not None, "this version of ScaNN has another switch, or none"
    before = flag.value
    yield flag
    flag.value = before


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Makes a processor of the given features."""

    def pretend(features):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nflags\t\t: {features}\nbugs\t\t:\n")
        monkeypatch.setattr(scann_library, "_PROCESSOR", path)
        load_scann.cache_clear()

    yield pretend
    load_scann.cache_clear()


@pytest.mark.parametrize(
    ("features", "expected"),
    [("fpu avx avx2 fma bmi2", True), ("fpu avx avx2", False), ("fpu avx", False), ("", False)],
)
def test_kernels_are_those_of_the_processor(flag, processor, features, expected):
    flag.value = False
    processor(features)
    load_scann()
    assert flag.value is expected


def test_a_machine_that_does_not_say_what_it_has(flag, processor, monkeypatch, tmp_path):
    flag.value = False
    processor("")
    monkeypatch.setattr(scann_library, "_PROCESSOR", tmp_path / "not_there")
    load_scann()
    assert flag.value is False


@pytest.mark.parametrize("leaves", [None, 20])
def test_both_kernels_find_the_same(flag, processor, leaves):
    if not scann_library._processor_features() >= {"avx2", "fma"}:
        pytest.skip("needs a processor with AVX2 and FMA")
    vectors, queries = unit_vectors(2000, 64, 0), tf.constant(unit_vectors(50, 64, 1))
    trained = train_scann(vectors, TrainingParameters(leaves, 0.2), 10)
    search = ScannSearch(vectors, trained, SearchParameters(10, leaves and 10, 100))
    found = {}
    for features in ("fpu avx", "fpu avx avx2 fma"):
        flag.value = False
        processor(features)
        found[features] = [answer.numpy() for answer in search.search(queries, 10)]
    (old_scores, old_rows), (scores, rows) = found.values()
    np.testing.assert_allclose(scores, old_scores, rtol=0, atol=1e-6)
    # Hashed scores may be a rounding apart, so that another candidate comes to be scored exactly.
    shared = [np.isin(*pair).mean() for pair in zip(rows, old_rows, strict=True)]
    assert np.mean(shared) > 0.995


def test_a_library_without_the_switch():
    assert avx2_flag(Path(str(ctypes.util.find_library("c")))) is None
    assert avx2_flag(Path("/nowhere/_scann_ops.so")) is None


pytest.importorskip("scann")


def make(vectors, leaves=None, searched=None, reordered=None, max_excluded=1000):
    training = TrainingParameters(leaves, 0.2)
    k = min(10, len(vectors))
    parameters = SearchParameters(k, searched, reordered or len(vectors))
    trained = train_scann(vectors, training, k)
    return ScannSearch(vectors, trained, parameters, max_excluded=max_excluded)


class TestScannSearch(SearcherContract):
    def make(self, vectors):
        return make(vectors)


class TestScannSearchWithATree(SearcherContract):
    def make(self, vectors):
        leaves = len(vectors) // 10 if len(vectors) >= 20 else None
        return make(vectors, leaves, leaves)


def test_training_twice_gives_the_same_arrays():
    vectors = unit_vectors(500, 8, 0)
    first, second = (train_scann(vectors, TrainingParameters(20, 0.2), 10) for _ in range(2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


def test_all_leaves_and_all_reordered_is_exact_search():
    vectors, queries = unit_vectors(400, 8, 1), unit_vectors(20, 8, 2)
    rows = make(vectors, 20, 20).search(tf.constant(queries), 10)[1]
    np.testing.assert_array_equal(rows, exact_top_k(queries, vectors, 10)[1])


def test_a_search_of_too_few_leaves_is_answered_exactly():
    vectors, queries = unit_vectors(200, 8, 3), unit_vectors(6, 8, 4)
    search = make(vectors, 20, 1)
    near = search.near(tf.constant(queries), tf.constant(60), SearchParameters(10, 1, 200))
    assert not np.isfinite(near[0]).all()  # ScaNN alone runs out of candidates
    rows = search.search(tf.constant(queries), 60)[1]
    np.testing.assert_array_equal(rows, exact_top_k(queries, vectors, 60)[1])


def test_more_exclusions_than_planned_are_answered_exactly():
    vectors, queries = unit_vectors(100, 8, 5), unit_vectors(2, 8, 6)
    exact = exact_top_k(queries, vectors, 60)[1]
    search = make(vectors, max_excluded=5)
    rows = search.search(tf.constant(queries), 10, tf.constant(exact[:, :50], tf.int32))[1]
    np.testing.assert_array_equal(rows, exact[:, 50:60])


def test_what_is_looked_at_may_be_an_input_of_the_graph():
    vectors, queries = unit_vectors(200, 8, 3), tf.constant(unit_vectors(6, 8, 4))
    search = make(vectors, 20, 1)
    graph = tf.function(
        lambda leaves: search.search(queries, 5, parameters=SearchParameters(5, leaves, 200))[1],
        input_signature=[tf.TensorSpec([], tf.int32)],
        autograph=False,
    )
    exact = exact_top_k(queries.numpy(), vectors, 5)[1]
    np.testing.assert_array_equal(graph(20), exact)
    assert (graph(1).numpy() != exact).any()


def test_two_indexes_in_one_process_stay_apart():
    first, second = unit_vectors(50, 8, 7), unit_vectors(60, 8, 8)
    searches = [make(first), make(second)]
    for search, vectors in zip(searches, (first, second), strict=True):
        rows = search.search(tf.constant(vectors[:20]), 1)[1]
        np.testing.assert_array_equal(rows[:, 0], np.arange(20))
