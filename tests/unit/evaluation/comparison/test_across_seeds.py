import numpy as np
import pytest
from scipy import stats

from tfrs_twotower.evaluation.comparison.across_seeds import SystemSeeds, paired_tests, seed_figure


def system(values, run="a", name="retrieval"):
    return SystemSeeds(run, name, np.asarray(values, float))


def one_metric(*seeds):
    """`[num_seeds, 1, num_queries]` from one list of values for each seed."""
    return [[list(queries)] for queries in seeds]


def test_mean_and_deviation_by_hand():
    """1, 2, 6: mean 9 / 3; squares 4 + 1 + 9 over 3 - 1."""
    figure = seed_figure([1.0, 2.0, 6.0])
    assert figure.mean == 9 / 3
    assert figure.sd == pytest.approx(((4 + 1 + 9) / 2) ** 0.5)
    assert seed_figure([0.4]).as_json() == {"mean": 0.4, "sd": None, "by_seed": [0.4]}


def test_both_tests_by_hand():
    """Two seeds, three queries; a - b is (3, 1, 2) and (1, 1, 4).

    Over queries: means over seeds 2, 1, 3: mean 2, sd 1, t = 2 / (1 / sqrt 3), 2 degrees.
    Over seeds: means over queries 2, 2: no spread at all, so p = 0.
    """
    a = system(one_metric((3, 1, 2), (1, 1, 4)))
    b = system(one_metric((0, 0, 0), (0, 0, 0)), "b")
    (entry,) = paired_tests([(a, b)], ("recall@20",))
    expected = 2 * stats.t.sf(2 * 3**0.5, 2)
    assert entry.difference == 2.0
    assert entry.over_queries.p == pytest.approx(expected)
    assert entry.over_seeds.p == 0.0
    assert entry.both.p == pytest.approx(expected)
    assert entry.seeds == 2
    assert (entry.a.as_json(), entry.b.run) == ({"run": "a", "system": "retrieval"}, "b")


def test_scipy_agrees_on_random_values():
    generator = np.random.default_rng(3)
    first, second = generator.random((2, 5, 2, 70))
    first[:, 0] += 0.1
    tests = paired_tests([(system(first), system(second, "b"))], ("ndcg@10", "recall@20"))
    for column, entry in enumerate(tests):
        queries = stats.ttest_rel(first[:, column].mean(axis=0), second[:, column].mean(axis=0))
        seeds = stats.ttest_rel(first[:, column].mean(axis=1), second[:, column].mean(axis=1))
        assert entry.over_queries.p == pytest.approx(queries.pvalue, rel=1e-9)
        assert entry.over_seeds.p == pytest.approx(seeds.pvalue, rel=1e-9)
        assert entry.both.p == max(entry.over_queries.p, entry.over_seeds.p)


def test_holm_goes_over_pairs_and_metrics():
    """Three pairs and two metrics are a family of six: the smallest p is multiplied by 6."""
    generator = np.random.default_rng(0)
    pairs = [(system(generator.random((4, 2, 50))), system(generator.random((4, 2, 50)), "b"))] * 2
    pairs.append((system(generator.random((4, 2, 50)) + 0.2), system(np.full((4, 2, 50), 0.5))))
    tests = paired_tests(pairs, ("ndcg@10", "recall@20"))
    for kind in ("over_queries", "over_seeds", "both"):
        p = sorted((getattr(entry, kind).p, getattr(entry, kind).p_holm) for entry in tests)
        running = 0.0
        for place, (plain, corrected) in enumerate(p):
            running = max(running, min(1.0, plain * (6 - place)))
            assert corrected == pytest.approx(running)


def test_a_baseline_counts_as_equal_in_every_seed():
    generator = np.random.default_rng(1)
    model, baseline = generator.random((3, 1, 20)), generator.random((1, 1, 20))
    (once,) = paired_tests([(system(model), system(baseline, name="ease"))], ("recall@20",))
    (repeated,) = paired_tests([(system(model), system(baseline.repeat(3, 0)))], ("recall@20",))
    assert (once.both, once.seeds) == (repeated.both, 3)


def test_equal_runs_do_not_differ():
    values = np.random.default_rng(2).random((3, 1, 20))
    (entry,) = paired_tests([(system(values), system(values, "b"))], ("recall@20",))
    assert (entry.difference, entry.both.p, entry.significant) == (0.0, 1.0, False)


def test_a_difference_of_one_seed_is_never_significant():
    """Every query says so, but nobody trained twice."""
    values = np.random.default_rng(2).random((1, 1, 200))
    (entry,) = paired_tests([(system(values + 1), system(values, "b"))], ("recall@20",))
    assert entry.over_queries.p_holm < 1e-6
    assert entry.over_seeds.as_json() == {"p": None, "p_holm": None}
    assert entry.both.as_json() == {"p": None, "p_holm": None}
    assert entry.significant is False


def test_noise_of_training_is_not_taken_for_a_difference():
    """A training shifts all queries together: certain over queries, not so over seeds."""
    generator = np.random.default_rng(5)
    calls = {"over_queries": 0, "both": 0}
    for _ in range(200):
        shifts = generator.normal(0, 0.05, (2, 5, 1, 1))
        queries = generator.random((1, 1, 300))
        a, b = queries + shifts + generator.normal(0, 0.01, (2, 5, 1, 300))
        (entry,) = paired_tests([(system(a), system(b))], ("recall@20",))
        for kind in calls:
            calls[kind] += getattr(entry, kind).p < 0.05
    assert calls["over_queries"] > 150
    assert calls["both"] < 20


def test_no_pairs_no_tests():
    assert paired_tests([], ("recall@20",)) == ()


def test_other_queries_are_refused():
    with pytest.raises(ValueError, match="give the same metrics and queries"):
        paired_tests([(system(np.zeros((1, 1, 3))), system(np.zeros((1, 1, 4))))], ("recall@20",))
