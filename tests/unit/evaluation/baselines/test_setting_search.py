import numpy as np
import pytest

from tfrs_twotower.evaluation.baselines.setting_search import Axis, Choice, Grid, search

POSITIVE = [True]


def choice(*setting):
    return Choice(setting, True)


def test_each_metric_gets_its_own_setting_beyond_the_given_grid():
    """Peaks at 1600 and at 25; the grid holds 100 to 400."""
    grid = Grid((Axis.given("lambda", (100.0, 200.0, 400.0), lowest=1.0, highest=1e6),))

    def measure(tried):
        place = np.log2(tried.setting[0] / 100)
        return {"recall@100": -abs(place - 4), "ndcg@10": -abs(place + 2)}

    tuning = search(grid, POSITIVE, measure, ("ndcg@10", "recall@100"))
    assert tuning.best == {"ndcg@10": choice(25.0), "recall@100": choice(1600.0)}
    assert tuning.finished
    assert {12.5, 3200.0} <= {tried.setting[0] for tried in tuning.tried}


@pytest.mark.parametrize("seed", range(8))
def test_no_neighbour_of_a_best_setting_is_better(seed):
    random = np.random.default_rng(seed)
    centre = random.uniform(0, 6, (3, 2))
    grid = Grid(
        (
            Axis("lambda", (1.0, 4.0), 2.0, 0.25, 512.0),
            Axis("dropout", (0.0, 0.2, 0.4, 0.6, 0.8)),
        ),
        most_tries=200,
    )
    noise = random.normal(0, 0.3, (300, 3))

    def measure(tried):
        place = np.array([np.log2(tried.setting[0]), 5 * tried.setting[1]])
        own = noise[hash(tried) % 300]
        figures = -np.square(place - centre).sum(axis=1) + own
        return dict(zip("abc", figures.tolist(), strict=True))

    tuning = search(grid, [True, False], measure, ("a", "b", "c"))
    assert tuning.finished
    for name, best in tuning.best.items():
        reached = tuning.tried[best][name]
        assert reached == max(figures[name] for figures in tuning.tried.values())
        for setting in grid.neighbours(best.setting):
            assert tuning.tried[best._replace(setting=setting)][name] <= reached


def test_the_limit_of_tries_is_kept_and_told():
    grid = Grid((Axis("lambda", (1.0,), 2.0),), most_tries=5)
    tuning = search(grid, POSITIVE, lambda tried: {"a": tried.setting[0]}, ("a",))
    assert len(tuning.tried) == 5
    assert not tuning.finished


def test_few_are_kept_and_the_other_metrics_take_the_best_of_these():
    grid = Grid((Axis("n", (1, 2, 3, 4)),), most_chosen=2)
    peaks = {"a": 4, "b": 1, "c": 2, "d": 3}

    def measure(tried):
        return {name: -abs(tried.setting[0] - peak) for name, peak in peaks.items()}

    tuning = search(grid, POSITIVE, measure, tuple(peaks))
    assert {name: best.setting[0] for name, best in tuning.best.items()} == {
        "a": 4, "b": 1, "c": 1, "d": 4,
    }  # fmt: skip


def test_both_kinds_of_interactions_are_tried():
    grid = Grid((Axis("n", (1, 2)),))
    tuning = search(grid, [True, False], lambda one: {"a": float(not one.positives_only)}, ("a",))
    assert not tuning.best["a"].positives_only
    assert len(tuning.tried) == 4


def test_an_axis_of_whole_numbers_stays_whole_and_inside_its_ends():
    axis = Axis.given("neighbours", (10, 50, 900), lowest=1, highest=120)
    assert axis.values == (10, 50, 120)
    assert [list(axis.neighbours(value)) for value in (10, 50, 120)] == [[5, 50], [10, 120], [50]]
    assert list(axis.neighbours(1)) == [2]
    assert all(isinstance(value, int) for value in axis.neighbours(5))


def test_one_value_of_a_config_stays():
    grid = Grid((Axis.given("lambda", 3.0, lowest=1.0, highest=9.0),))
    assert grid.fixed
    assert grid.middle() == (3.0,)
    assert list(grid.neighbours((3.0,))) == []


def test_a_large_grid_starts_in_its_middle():
    grid = Grid((Axis("a", (1, 2, 3)), Axis("b", (1, 2, 3, 4, 5))), most_tries=20)
    assert grid.start() == [(2, 3)]
