"""Chooses the settings of the next trial, and ends trials that stay behind: Optuna.

Nothing is kept between two trials but their records: each choice is drawn by a sampler that is made
anew of the seed and of the trial's number, from a study that is made anew of the earlier trials.
Therefore a search that is killed and continued chooses what it would have chosen anyway.
"""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from pydantic import ValidationError

from pipelines.tuning import space
from pipelines.tuning.rows import Facts, Part, Prior, Setting
from pipelines.tuning.tuning_document import Trial, best_first
from tfrs_twotower.config import PreRankingConfig, RunConfig
from tfrs_twotower.metrics import parse_metric

AS_IT_IS = "the config as it is"
A_SECOND_STAGE = "a second stage"
SEARCH = "search"
_STARTUP_TRIALS = 5
_MOST_DRAWN = 4
_UNPRUNED_EVALUATIONS = 2
_KEPT_PERCENTILE = 75.0
"""Of trainings at the same evaluation the last quarter is ended: the median would end slow learners
that end well, such as those with small steps."""
_STATES = {
    "complete": optuna.trial.TrialState.COMPLETE,
    "pruned": optuna.trial.TrialState.PRUNED,
}


class Pruned(Exception):
    """A training was ended because it stays behind those of other trials."""


@dataclass(frozen=True)
class Proposal:
    """The settings of the next trial."""

    places: dict[str, int]
    """Position of the chosen value in each row, by key."""
    changes: dict[str, Any]
    """What differs from the run config."""
    why: str


@dataclass(frozen=True)
class Space:
    """The rows and starting points of one part of a search.

    Attributes:
        rows: the settings.
        priors: the starting points.
        unchanged: gives the value of a key in the run config.
        seed: seed of the search.
        start: what is changed in every trial.
    """

    rows: tuple[Setting, ...]
    priors: tuple[Prior, ...]
    unchanged: Callable[[str], Any]
    seed: int
    start: Mapping[str, Any] = field(default_factory=dict)

    @property
    def as_it_is(self) -> Proposal:
        """The settings of the run config."""
        places = {row.key: row.initial for row in self.rows}
        return self._proposal(places, A_SECOND_STAGE if self.start else AS_IT_IS)

    def next_proposal(self, trials: Sequence[Trial]) -> Proposal:
        """The settings of the trial after these: the config's own, a starting point, or a draw.

        A starting point is added to the best settings found so far, so that what helps adds up.
        Then a tree-structured Parzen estimator (TPE; Bergstra et al. 2011) draws a few keys of them
        anew: a draw of all keys changes a third of them, and settings that fit the data get lost.
        """
        number = len(trials)
        if number == 0 or not self.rows:
            return self.as_it_is
        best = best_of(trials)
        if number <= len(self.priors):
            prior = self.priors[number - 1]
            places = dict((best or trials[0]).places)
            for row in self.rows:
                if row.key in prior.changes:
                    places[row.key] = row.values.index(prior.changes[row.key])
            return self._proposal(places, prior.reason)
        random = np.random.default_rng([self.seed, number])
        most = min(_MOST_DRAWN, len(self.rows))
        chosen = random.choice(len(self.rows), random.integers(1, most + 1), replace=False)
        rows = [self.rows[at] for at in sorted(chosen)]
        drawn = self._study(trials, rows).ask(_distributions(rows)).params
        places = {**(best or trials[0]).places, **{key: int(at) for key, at in drawn.items()}}
        return self._proposal(places, SEARCH)

    def pruner(self, trials: Sequence[Trial], places: Mapping[str, int]) -> Callable[[float], None]:
        """Judges the evaluations of one training, in their order.

        Returns:
            Takes the gain at each evaluation; raises `Pruned` if the best one so far is behind
            three quarters of the earlier trials at the same evaluation.
        """
        study = self._study(trials, self.rows)
        study.enqueue_trial(dict(places))
        trial = study.ask(_distributions(self.rows))
        count = 0

        def judge(gain: float) -> None:
            nonlocal count
            count += 1
            trial.report(gain, count)
            if trial.should_prune():
                raise Pruned

        return judge

    def importance(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Share of each key in what tells good trials from others; empty with too few trials.

        PED-ANOVA (Watanabe et al., IJCAI 2023): it compares the values in the best trials with
        those in all.
        """
        complete = [one for one in trials if one.state == "complete"]
        varied = [
            row.key for row in self.rows if len({one.places.get(row.key) for one in complete}) > 1
        ]
        if len(complete) < _STARTUP_TRIALS or not varied:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # with few trials it says that they are few
            found = optuna.importance.get_param_importances(
                self._study(complete, self.rows),
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                params=varied,
            )
        return {key: round(float(share), 4) for key, share in found.items()}

    def _proposal(self, places: dict[str, int], why: str) -> Proposal:
        changes = space.effective_changes(self.rows, places, self.unchanged)
        return Proposal(places, {**self.start, **changes}, why)

    def _study(self, trials: Sequence[Trial], rows: Sequence[Setting]) -> optuna.Study:
        """A study of earlier trials, which sees some of the settings."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(
                seed=self.seed * 1_000_003 + len(trials),
                n_startup_trials=_STARTUP_TRIALS,
                multivariate=True,
            ),
            pruner=optuna.pruners.PercentilePruner(
                _KEPT_PERCENTILE,
                n_startup_trials=_STARTUP_TRIALS - 1,
                n_warmup_steps=_UNPRUNED_EVALUATIONS + 1,
            ),
        )
        distributions = _distributions(rows)
        for one in trials:
            if one.state in _STATES and one.gain is not None:
                study.add_trial(
                    optuna.trial.create_trial(
                        state=_STATES[one.state],
                        value=one.gain if one.state == "complete" else None,
                        params={key: one.places[key] for key in distributions},
                        distributions=distributions,
                        intermediate_values=dict(enumerate(one.evaluations, 1)),
                    )
                )
        return study


def _distributions(
    rows: Sequence[Setting],
) -> dict[str, optuna.distributions.BaseDistribution]:
    return {
        row.key: optuna.distributions.IntDistribution(0, len(row.values) - 1)
        if row.ordered
        else optuna.distributions.CategoricalDistribution(range(len(row.values)))
        for row in rows
    }


@dataclass(frozen=True)
class Choices:
    """The spaces of a run config and its data.

    Attributes:
        facts: what rows depend on.
        metrics: what is maximised.
        seed: seed of the search.
    """

    facts: Facts
    metrics: tuple[str, ...]
    seed: int

    @property
    def may_have_second_stage(self) -> bool:
        """Whether the run config has a second stage, or may get one."""
        return self.facts.config.pre_ranking is not None or self.facts.ease

    @property
    def starting_section(self) -> dict[str, Any]:
        """What makes a run config without a second stage one with it."""
        if self.facts.config.pre_ranking is not None or not self.may_have_second_stage:
            return {}
        return {"pre_ranking": dict(space.FIRST_SECOND_STAGE)}

    def unchanged(self, key: str) -> Any:
        """The value of a key in the run config, with the second stage that it may get."""
        return _value_at(self._settings, key)

    def of(self, part: Part) -> Space:
        """The space of a part of the search."""
        if part == "pre_ranking" and not self.may_have_second_stage:
            return Space((), (), self.unchanged, self.seed)
        config = self.facts.config
        lists = (*config.evaluate.ks, config.export.k)
        longest = max(*lists, *(parse_metric(name)[1] for name in self.metrics))
        rows = space.settings_for(part, self.facts, self.unchanged, self._with_defaults, longest)
        priors = tuple(space.priors_for(part, self.facts, rows))
        start = self.starting_section if part == "pre_ranking" else {}
        return Space(rows, priors, self.unchanged, self.seed, start)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes searches different, for a fingerprint."""
        spaces = {part: self.of(part) for part in space.SETTINGS}
        return {
            part: {
                "rows": [[row.key, row.values] for row in one.rows],
                "priors": [dict(prior.changes) for prior in one.priors],
            }
            for part, one in spaces.items()
        }

    def _with_defaults(self, key: str, value: Any) -> Any:
        """What a run config that has a value at a key says there, defaults included."""
        if not isinstance(value, dict | list):
            return value
        changed = copy.deepcopy(self._settings)
        *sections, name = key.split(".")
        section = changed
        for one in sections:
            if section.get(one) is None:
                return value
            section = section[one]
        section[name] = value
        try:
            config = RunConfig.model_validate(changed)
        except ValidationError:  # it does not go with the others, and is refused where it is tried
            return value
        return _value_at(config.model_dump(mode="json"), key)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        config = self.facts.config
        if section := self.starting_section.get("pre_ranking"):
            added = PreRankingConfig.model_validate(section)
            config = config.model_copy(update={"pre_ranking": added})
        return config.model_dump(mode="json")


def _value_at(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial with the largest gain, the first of equals; None if there is none."""
    return next(iter(best_first(trials)), None)
