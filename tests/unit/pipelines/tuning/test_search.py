"""Choosing and ending trials: the config first, starts that add up, draws that a kill repeats."""

import pytest

from pipelines.tuning.rows import Prior, Setting
from pipelines.tuning.search import AS_IT_IS, SEARCH, Pruned, Space, best_of
from pipelines.tuning.tuning_document import Trial, relative_gain

ROWS = (
    Setting("x", (1, 2, 3, 4, 5, 6, 7, 8), "", initial=0),
    Setting("kind", ("a", "b"), "", initial=0),
)
PRIORS = (Prior({"x": 3}, "three"), Prior({"kind": "b"}, "b"), Prior({"x": 8}, "eight"))


def space(seed=0, rows=ROWS, priors=PRIORS):
    return Space(rows, priors, lambda key: None, seed)


def trial(number, proposal, gain, state="complete", evaluations=()):
    return Trial(
        part="retrieval", number=number, why=proposal.why, places=proposal.places,
        changes=proposal.changes, state=state, gain=gain, evaluations=evaluations,
    )  # fmt: skip


def worth(proposal):
    """A planted objective: x near 5, kind b."""
    x = ROWS[0].values[proposal.places["x"]]
    return -abs(x - 5) + (2.0 if proposal.changes.get("kind") == "b" else 0.0) + 4.0


def searched(seed, count, given=()):
    trials = list(given)
    while len(trials) < count:
        proposal = space(seed).next_proposal(trials)
        trials.append(trial(len(trials), proposal, worth(proposal)))
    return trials


def test_the_gain_is_the_mean_relative_change():
    # 0.11 / 0.10 is 10 per cent more, 0.38 / 0.40 is 5 per cent less.
    assert relative_gain(
        {"ndcg@10": 0.11, "recall@100": 0.38}, {"ndcg@10": 0.10, "recall@100": 0.40}
    ) == pytest.approx(0.025)
    assert relative_gain({"m": 0.0}, {"m": 0.0}) == pytest.approx(-1.0)


def test_it_begins_with_the_config_and_adds_up_starts_that_help():
    first, second, third, fourth = searched(0, 4)
    assert (first.why, first.changes) == (AS_IT_IS, {})
    assert (second.why, second.changes) == ("three", {"x": 3})
    assert third.changes == {"x": 3, "kind": "b"}
    assert fourth.changes == {"x": 8, "kind": "b"}
    worse = [trial(0, space().as_it_is, 0.0), trial(1, space().next_proposal([first]), -1.0)]
    assert space().next_proposal(worse).changes == {"kind": "b"}


def test_draws_find_what_is_planted():
    found = best_of(searched(3, 25))
    assert found.why == SEARCH
    assert found.changes == {"x": 5, "kind": "b"}


def test_a_draw_leaves_most_of_the_best_settings_as_they_are():
    """Of twenty keys three are wrong; whoever drew all of them would mostly lose what is right."""
    rows = tuple(Setting(f"k{number:02}", (0, 1, 2), "") for number in range(20))
    wrong = {"k03": 1, "k11": 2, "k17": 1}
    trials, drawn = [], []
    while len(trials) < 60:
        proposal = space(rows=rows, priors=()).next_proposal(trials)
        if trials:
            best = best_of(trials).places
            drawn.append(sum(proposal.places[key] != best[key] for key in best))
        gain = -sum(place != wrong.get(key, 0) for key, place in proposal.places.items())
        trials.append(trial(len(trials), proposal, float(gain)))
    assert 1 <= max(drawn) <= 4
    assert best_of(trials).gain >= -1.0  # it began with -3


def test_a_search_that_was_cut_anywhere_goes_on_as_if_it_had_not_been():
    whole = searched(7, 14)
    for cut in (1, 5, 9, 13):
        assert searched(7, 14, whole[:cut]) == whole
    assert searched(8, 14) != whole


def test_a_training_behind_three_quarters_of_the_others_is_ended():
    earlier = [
        trial(n, space().as_it_is, 0.1 * n, evaluations=tuple(0.1 * n + 0.01 * e for e in range(5)))
        for n in range(5)
    ]
    behind = space().pruner(earlier, space().as_it_is.places)
    behind(-1.0)
    behind(-1.0)
    with pytest.raises(Pruned):
        behind(-0.9)
    level = space().pruner(earlier, space().as_it_is.places)
    for _ in range(5):
        level(0.2)
    few = space().pruner(earlier[:2], space().as_it_is.places)
    for _ in range(5):
        few(-1.0)


def test_importance_is_that_of_the_planted_key():
    rows = (*ROWS, Setting("idle", (1, 2, 3), "", initial=0))
    trials = []
    for number in range(24):
        places = {"x": number % 8, "kind": 0, "idle": number // 8}
        trials.append(
            Trial(
                part="retrieval", number=number, why="", places=places, changes={},
                state="complete", gain=float(number % 8 == 4) - 0.01 * (number % 8),
            )
        )  # fmt: skip
    found = space(rows=rows).importance(trials)
    assert next(iter(found)) == "x"
    assert "kind" not in found  # it never varied
    assert found["x"] > 0.5
    assert space(rows=rows).importance(trials[:3]) == {}


def test_repeated_and_failed_trials_are_never_the_best():
    first = trial(0, space().as_it_is, 0.0)
    lucky = trial(1, space().as_it_is, 5.0, state="repeated")
    assert best_of([first, lucky]) == first
    assert best_of([]) is None
