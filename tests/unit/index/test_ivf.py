import numpy as np
import pytest
import tensorflow as tf

from serving.bundle.server_ops import SCANN_NAMESPACE, read_ops
from tests.contracts.searcher_contract import SearcherContract, unit_vectors
from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index.ivf import (
    IvfSearch,
    IvfTraining,
    assign,
    ivf_grid,
    ivf_training,
    k_means,
    train_ivf,
)
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.ranking.order import exact_top_k


def test_a_million_candidates():
    assert ivf_training(IndexConfig(), 1_000_000) == IvfTraining(4 * 1000, 128)


def test_small_corpora_keep_ten_candidates_a_cluster():
    assert ivf_training(IndexConfig(), 1) == IvfTraining(1, 16)
    assert ivf_training(IndexConfig(), 95) == IvfTraining(9, 16)
    assert ivf_training(IndexConfig(num_leaves=5), 1000) == IvfTraining(5, 112)


def test_the_grid_ends_with_every_leaf():
    grid = ivf_grid(IndexConfig(k=10), 300, 5000)
    leaves = [one.num_leaves_to_search for one in grid]
    assert leaves == sorted(set(leaves))
    assert leaves[0] == 1
    assert leaves[-1] == 300
    assert {one.num_reordering_candidates for one in grid} == {None}


def test_a_given_number_is_not_varied():
    grid = ivf_grid(IndexConfig(num_leaves_to_search=900), 300, 5000)
    assert [one.num_leaves_to_search for one in grid] == [300]


def test_two_heaps_by_hand():
    vectors = np.array([[0.0, 0.0], [0.0, 2.0], [9.0, 0.0], [9.0, 4.0]], np.float32)
    centroids = k_means(vectors, 2, sample=4)
    assert sorted(centroids.tolist()) == [[0.0, 1.0], [9.0, 2.0]]


def test_nearest_by_distance_and_not_by_product():
    centroids = np.array([[1.0, 0.0], [10.0, 0.0]], np.float32)
    assert assign(np.array([[2.0, 0.0], [8.0, 0.0]], np.float32), centroids).tolist() == [0, 1]


def test_assignment_agrees_with_all_distances():
    vectors, centroids = unit_vectors(200, 6, 0), unit_vectors(9, 6, 1)
    distances = np.square(vectors[:, None] - centroids[None]).sum(axis=2)
    np.testing.assert_array_equal(assign(vectors, centroids), distances.argmin(axis=1))


def test_no_partition_is_left_empty_on_spread_vectors():
    vectors = unit_vectors(300, 4, 2)
    nearest = assign(vectors, k_means(vectors, 30, sample=300))
    assert len(np.unique(nearest)) == 30


def make(vectors, clusters, searched, leaf_size=8):
    trained = train_ivf(vectors, clusters, leaf_size)
    return IvfSearch(vectors, trained, SearchParameters(10, searched, None))


class TestIvfSearch(SearcherContract):
    def make(self, vectors):
        return make(vectors, max(1, len(vectors) // 10), len(vectors))


def test_all_leaves_is_exact_search():
    vectors, queries = unit_vectors(400, 8, 1), unit_vectors(20, 8, 2)
    rows = make(vectors, 20, 400).search(tf.constant(queries), 10)[1]
    np.testing.assert_array_equal(rows, exact_top_k(queries, vectors, 10)[1])


def test_more_leaves_find_more():
    vectors, queries = unit_vectors(2000, 16, 3), unit_vectors(50, 16, 4)
    exact = exact_top_k(queries, vectors, 10)[1]
    index = make(vectors, 100, 5, leaf_size=16)
    found = [
        np.mean(index.search(queries, 10, parameters=SearchParameters(10, n, None))[1] == exact)
        for n in (2, 30, 2000)
    ]
    assert found[0] < found[1] < found[2] == 1.0


def test_a_list_longer_than_its_leaves_is_complete():
    vectors, queries = unit_vectors(300, 8, 5), tf.constant(unit_vectors(3, 8, 6))
    rows = make(vectors, 30, 1).search(queries, 250)[1].numpy()
    assert all(len(set(line)) == 250 for line in rows)
    assert (rows >= 0).all()


def test_a_saved_search_needs_core_operations_only(tmp_path):
    vectors, queries = unit_vectors(300, 8, 7), tf.constant(unit_vectors(3, 8, 8))
    index = make(vectors, 30, 5)
    function = tf.function(
        lambda q: dict(zip(("scores", "rows"), index.search(q, 10), strict=True)),
        input_signature=[tf.TensorSpec([None, 8], tf.float32)],
        autograph=False,
    )
    tf.saved_model.save(index, str(tmp_path), signatures=function.get_concrete_function())
    assert not [name for name in read_ops(tmp_path) if name.startswith(SCANN_NAMESPACE)]
    loaded = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](queries)
    np.testing.assert_array_equal(loaded["rows"], index.search(queries, 10)[1])


@pytest.mark.parametrize(("num_vectors", "clusters", "leaf_size"), [(1, 1, 16), (90, 9, 4)])
def test_every_candidate_stands_in_one_leaf(num_vectors, clusters, leaf_size):
    vectors = unit_vectors(num_vectors, 4, 9)
    trained = train_ivf(vectors, clusters, leaf_size)
    rows = trained["rows"]
    assert sorted(rows[rows >= 0].tolist()) == list(range(num_vectors))
    assert rows.shape[1] == leaf_size
    for line, centroid in zip(rows, trained["centroids"], strict=True):
        np.testing.assert_allclose(vectors[line[line >= 0]].mean(axis=0), centroid, atol=1e-6)


def test_equal_vectors_are_cut_as_well():
    rows = train_ivf(np.ones((50, 4), np.float32), 5, 16)["rows"]
    assert sorted(rows[rows >= 0].tolist()) == list(range(50))


def test_training_twice_gives_the_same_arrays():
    vectors = unit_vectors(500, 8, 10)
    first, second = (train_ivf(vectors, 20, 16) for _ in range(2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)
