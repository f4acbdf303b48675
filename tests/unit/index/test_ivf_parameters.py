from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index.ivf import IvfTraining, ivf_grid, ivf_training


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
