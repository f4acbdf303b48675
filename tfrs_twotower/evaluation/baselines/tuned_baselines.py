"""Fits a baseline with the settings that validation chose for each metric by itself.

The interactions that are learned from are chosen like a setting: positive ones only or all of them
(a low rating still says that the query chose the candidate); neither is always better.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation import budget, corpus_ranking, evaluated_data
from tfrs_twotower.evaluation.baselines import collaborative
from tfrs_twotower.evaluation.baselines.setting_search import Choice, Grid, Setting, Tuning, search
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.specs import TRAIN, VALIDATION


@dataclass(frozen=True)
class LearnedFrom:
    """The interactions that a baseline is fitted on.

    Attributes:
        log: all interactions.
        chosen: `[num_interactions]` those that it may learn from; it must not read others.
        num_candidates: size of the corpus.
        distinct: whether counts are of queries instead of events.
    """

    log: evaluated_data.InteractionLog
    chosen: NDArray[np.bool_]
    num_candidates: int
    distinct: bool

    @classmethod
    def splits(
        cls, inputs: evaluated_data.EvaluationInputs, splits: tuple[int, ...], positives_only: bool
    ) -> "LearnedFrom":
        """The interactions of some splits."""
        chosen = collaborative.window(inputs.log, splits, positives_only=positives_only)
        return cls(inputs.log, chosen, len(inputs.corpus), inputs.split.new_pairs_only)

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """`[num_queries, num_candidates]` of 0 and 1."""
        return collaborative.interaction_matrix(self.log, self.chosen, self.num_candidates)

    @cached_property
    def _counted(self) -> collaborative.Counted:
        return collaborative.Counted.of(
            self.log, self.chosen, self.num_candidates, distinct=self.distinct
        )

    def popularity(self, days: float | None = None) -> collaborative.PopularityScorer:
        """The number of interactions of each candidate, all or those of the last days."""
        return collaborative.PopularityScorer(self._counted.counts(days))


class Asked(NamedTuple):
    """The queries that a fitted baseline ranks for."""

    positions: sparse.csr_matrix
    """Their profiles; see `collaborative.profile_positions`."""
    fallback: corpus_ranking.Scorer
    """For queries without a profile."""


Fitted = Callable[[Asked], corpus_ranking.Scorer]
Fit = Callable[[Setting], Fitted]


@dataclass(frozen=True)
class Method:
    """A baseline with settings.

    Attributes:
        grid: what is tuned.
        learn: from interactions to a fit for each setting.
        positives_only: whether it never learns from all interactions.
    """

    grid: Grid
    learn: Callable[[LearnedFrom], Fit]
    positives_only: bool = False


class TunedBaseline:
    """A baseline whose settings were chosen on validation.

    The fits for validation learn from the training split only, and a validation query's profile is
    what it did in training. A test query's profile always has the query's validation events.
    """

    def __init__(
        self,
        method: Method,
        inputs: evaluated_data.EvaluationInputs,
        *,
        learn_from: tuple[int, ...],
        metrics: tuple[str, ...],
    ) -> None:
        """Chooses settings and interactions.

        Args:
            method: the baseline.
            inputs: interactions and queries.
            learn_from: splits that the fit for test learns from.
            metrics: names such as `ndcg@10`, the most important first; each gets its own choice.
        """
        self._method = method
        self._inputs = inputs
        self._learn_from = learn_from
        self._fits: dict[tuple[tuple[int, ...], bool], Fit] = {}
        positives = method.positives_only or bool(inputs.log.positive.all())
        kinds = [True] if positives else [True, False]
        if inputs.validation is None or (len(kinds) == 1 and method.grid.fixed):
            alone = Choice(method.grid.middle(), kinds[0])
            self.tuning = Tuning(dict.fromkeys(metrics, alone), {}, finished=True)
            return
        queries = tuning_queries(inputs.validation, len(inputs.corpus))
        asked = {kind: self._asked(queries, (TRAIN,), (TRAIN,), kind) for kind in kinds}

        def measure(choice: Choice) -> dict[str, float]:
            scorer = self._fit(choice, (TRAIN,))(asked[choice.positives_only])
            return measured(scorer, queries, inputs.eligible, metrics)

        self.tuning = search(method.grid, kinds, measure, metrics)

    def scorer(self, choice: Choice) -> corpus_ranking.Scorer:
        """Fits for test."""
        asked = self._asked(
            self._inputs.test, self._learn_from, (TRAIN, VALIDATION), choice.positives_only
        )
        return self._fit(choice, self._learn_from)(asked)

    def _fit(self, choice: Choice, splits: tuple[int, ...]) -> Fitted:
        key = splits, choice.positives_only
        if key not in self._fits:
            self._fits.clear()  # one at a time: a fit may hold much
            learned = LearnedFrom.splits(self._inputs, splits, choice.positives_only)
            self._fits[key] = self._method.learn(learned)
        return self._fits[key](choice.setting)

    def _asked(
        self,
        queries: QuerySet,
        learn_from: tuple[int, ...],
        profile_from: tuple[int, ...],
        positives_only: bool,
    ) -> Asked:
        log, num_candidates = self._inputs.log, len(self._inputs.corpus)
        chosen = collaborative.window(log, profile_from, positives_only=positives_only)
        positions = collaborative.profile_positions(log, chosen, queries, num_candidates)
        window = collaborative.window(log, learn_from, positives_only=True)
        popularity = LearnedFrom(log, window, num_candidates, distinct=True).popularity
        once = cache(lambda: popularity())  # counted if a query has no profile
        return Asked(positions, lambda queries: once()(queries))


def tuning_queries(validation: QuerySet, num_candidates: int) -> QuerySet:
    """The validation queries that settings are chosen on, a fixed sample of more."""
    return validation.sample(budget.most_tuning_queries(num_candidates), seed=budget.SAMPLE_SEED)


def measured(
    scorer: corpus_ranking.Scorer,
    query_set: QuerySet,
    eligible: NDArray[np.bool_],
    metrics: tuple[str, ...],
) -> dict[str, float]:
    """The metrics of a scorer's rankings, by their names."""
    k = max(int(name.partition("@")[2]) for name in metrics)
    judged = judge(corpus_ranking.rank_corpus(scorer, query_set, eligible, k), query_set.truth)
    return {name: float(per_query(name, judged).mean()) for name in metrics}
