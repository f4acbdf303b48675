import numpy as np
import pytest

from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.data.query_set import sample_places
from tfrs_twotower.evaluation import budget
from tfrs_twotower.evaluation.resampling import mean_intervals


@pytest.mark.parametrize(
    ("settings", "num_candidates", "most"),
    [
        ({}, 100_000, 20_000),
        ({}, 1_000_000, 2_000),
        ({}, 10_000_000, 1_000),
        ({"max_queries": 500}, 10_000_000, 500),
        ({"max_queries": None}, 50_000, 40_000),
        ({"max_scores": None}, 10_000_000, 20_000),
        ({"max_queries": None, "max_scores": None}, 10_000_000, None),
    ],
)
def test_queries_of_an_evaluation(settings, num_candidates, most):
    assert budget.most_queries(EvaluateConfig(**settings), num_candidates) == most


def test_a_larger_corpus_costs_no_more_scores_down_to_the_fewest_queries():
    scores = [budget.most_queries(EvaluateConfig(), size) * size for size in (10**5, 10**6)]
    assert scores == [2e9, 2e9]


def test_settings_are_chosen_on_few_queries_of_a_large_corpus():
    assert [budget.most_tuning_queries(size) for size in (1, 33_554, 100_000, 10**7)] == [
        2_000, 2_000, 671, 500,
    ]  # fmt: skip


def test_a_cost_is_refused_by_bytes_and_by_operations():
    most = budget.Cost(budget.MOST_BYTES, budget.MOST_OPERATIONS)
    assert budget.reason_against(most) is None
    assert "multiplications and 2.1 GB" in budget.reason_against(most._replace(bytes=2.15e9))
    assert "take 2e+11 mult" in budget.reason_against(most._replace(operations=2e11))


def test_intervals_of_a_sample_hold_the_mean_over_all_queries():
    """Of 95 % intervals over samples, 95 % hold it; a sample of a tenth makes few wider."""
    random = np.random.default_rng(0)
    values = (random.random(5_000) < 0.3) * random.random(5_000)
    held = []
    for seed in range(200):
        places = sample_places(len(values), 500, seed)
        assert len(np.unique(places)) == 500
        low, high = mean_intervals(values[places][:, None], 300, seed)[:, 0]
        held.append(low <= values.mean() <= high)
    assert 0.91 <= np.mean(held) <= 0.99


def test_every_query_is_as_likely_to_be_drawn():
    drawn = np.bincount(
        np.concatenate([sample_places(50, 10, seed) for seed in range(2_000)]), minlength=50
    )
    assert abs(drawn / 2_000 - 0.2).max() < 0.04
