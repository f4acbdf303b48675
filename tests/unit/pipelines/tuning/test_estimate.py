"""The winner beside the config as it is, on the queries that the search has not seen."""

import numpy as np
import pytest

from pipelines.tuning import estimate
from pipelines.tuning.rows import Setting
from pipelines.tuning.search import Space
from pipelines.tuning.tuning_document import Trial, TuningDocument

ROW = Setting("x", (1, 2), "two are more", initial=0)
SPACES = {
    "retrieval": Space((ROW,), (), lambda key: None, 0),
    "pre_ranking": Space((), (), lambda key: None, 0),
}


def test_the_gain_and_its_test_by_hand():
    """Three queries, all changed alike in sign: of 8 patterns 2 are as extreme."""
    unchanged = {"m": np.array([0.1, 0.2, 0.3]), "n": np.array([1.0, 1.0, 1.0])}
    tuned = {"m": np.array([0.2, 0.3, 0.4]), "n": np.array([1.0, 1.0, 0.7])}
    found = estimate.compare(tuned, unchanged)
    # m: +0.1 / 0.2 = +50 %; n: -0.1 / 1 = -10 %.
    assert found.gain == pytest.approx((0.5 - 0.1) / 2)
    m, n = found.metrics
    assert (m.unchanged, m.tuned) == (pytest.approx(0.2), pytest.approx(0.3))
    assert m.p == pytest.approx(min(1.0, 2 * 0.25))  # Holm: the smaller of two, twice
    assert n.p == 1.0
    # Query by query: +.25, +.25, +.25 - .15 = +.10; the sum is exceeded by no other pattern.
    assert found.p == pytest.approx(2 / 8)


def trial(number, place, gain, state="complete"):
    return Trial(
        part="retrieval", number=number, why="", places={"x": place},
        changes={} if place == 0 else {"x": 2}, state=state, gain=gain,
    )  # fmt: skip


def document(*trials):
    return TuningDocument(
        search="f", run="shop", metrics=("m",), seed=3, search_queries=50, held_out_queries=40,
        trials=trials,
    )  # fmt: skip


@pytest.fixture
def conclude(monkeypatch):
    """Concludes with planted figures on the held-out queries."""

    def of(best, unchanged, tuned, *trials):
        values = {trials[0].number: unchanged, best.number: tuned}
        monkeypatch.setattr(
            estimate, "held_out_values", lambda _, towers, *rest: {"m": values[towers.number]}
        )
        found = document(*trials)
        outcome = estimate.outcome_of(None, found, trials[0], best, best, SPACES, "shop.yaml")
        return outcome, "\n".join(estimate.heading(found, outcome, best, "shop.yaml"))

    return of


FIRST, OTHER, BEST = trial(0, 0, 0.0), trial(1, 1, 0.02), trial(2, 1, 0.05)
AS_IT_WAS = np.full(40, 0.5)


def test_a_winner_that_is_ahead_there_changes_the_config(conclude):
    outcome, heading = conclude(BEST, AS_IT_WAS, AS_IT_WAS + 0.02, FIRST, OTHER, BEST)
    assert outcome.held_out_gain == pytest.approx(0.04)
    assert outcome.gain == 0.05
    (changed,) = outcome.changed
    assert (changed.key, changed.old, changed.new) == ("x", 1, 2)
    assert changed.reason == "two are more"
    assert changed.figure == "best of the trials with it +5.0% (2), without +0.0% (1)"
    assert "Changed: on 40 held-out validation queries it is +4.0% ahead" in heading
    assert "p < .001" in heading
    assert "m 0.5000 -> 0.5200" in heading


def test_a_lead_that_may_be_chance_is_said_to_be_one(conclude):
    few = AS_IT_WAS.copy()
    few[0] += 0.1
    outcome, heading = conclude(BEST, AS_IT_WAS, few, FIRST, BEST)
    assert outcome.changed
    assert "which may be chance" in heading


def test_a_winner_that_is_not_ahead_there_changes_nothing(conclude):
    outcome, heading = conclude(BEST, AS_IT_WAS, AS_IT_WAS - 0.01, FIRST, OTHER, BEST)
    assert outcome.changed == ()
    assert outcome.held_out_gain == pytest.approx(-0.02)
    assert "Nothing is changed: the best trial, +5.0% on the queries of the search" in heading
    assert "the luckiest" in heading


def test_without_a_better_trial_nothing_is_measured(conclude):
    worse = trial(1, 1, -0.1)
    outcome, heading = conclude(FIRST, None, None, FIRST, worse)
    assert (outcome.changed, outcome.held_out, outcome.held_out_gain) == ((), (), None)
    assert "no trial was ahead of the config as it is" in heading
