from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.index.scann_training import (
    TrainingParameters,
    cost,
    search_grid,
    training_parameters,
)


def test_partitions_start_at_a_hundred_thousand_with_twice_the_square_root():
    assert training_parameters(IndexConfig(), 99_999).num_leaves is None
    assert training_parameters(IndexConfig(), 1_000_000).num_leaves == 2000


def test_given_leaves_shrink_to_the_corpus():
    config = IndexConfig(num_leaves=100)
    assert training_parameters(config, 80).num_leaves is None
    assert training_parameters(config, 250).num_leaves == 25
    assert training_parameters(config, 5000).num_leaves == 100


def test_cost_by_hand():
    assert cost(SearchParameters(10, 5, 100), 2000, 50) == 5 / 50 * 2000 + 32 * 100
    assert cost(SearchParameters(10, None, 100), 2000, None) == 2000 + 32 * 100


def test_the_grid_goes_from_cheap_to_complete():
    grid = search_grid(IndexConfig(k=10), TrainingParameters(100, 0.2), 10_000)
    costs = [cost(one, 10_000, 100) for one in grid]
    assert costs == sorted(costs)
    assert {one.num_leaves_to_search for one in grid} == {1, 2, 4, 5, 10, 20, 40, 70, 100}
    assert all(one.num_reordering_candidates >= one.k == 10 for one in grid)


def test_given_values_are_not_varied():
    config = IndexConfig(k=10, num_leaves_to_search=7, num_reordering_candidates=50)
    grid = search_grid(config, TrainingParameters(100, 0.2), 10_000)
    assert grid == [SearchParameters(10, 7, 50)]


def test_a_corpus_smaller_than_k():
    grid = search_grid(IndexConfig(k=100), TrainingParameters(None, 0.2), 3)
    assert grid == [SearchParameters(3, None, 3)]
