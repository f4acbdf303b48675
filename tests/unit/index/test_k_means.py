import numpy as np

from tests.contracts.searcher_contract import unit_vectors
from tfrs_twotower.index.ivf import assign, k_means


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
