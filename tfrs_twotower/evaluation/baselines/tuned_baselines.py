"""Tunes item_knn and EASE on validation: their setting, and the interactions they learn from.

The setting is the number of neighbours or the weight of the penalty. Both may learn from positive
interactions only or from all of them (a low rating still says that the query chose the
candidate); neither is always better.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.closed_form.ease import co_occurrences, ease_weights
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation import corpus_ranking, evaluated_data
from tfrs_twotower.evaluation.baselines import collaborative
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.specs import TRAIN, VALIDATION

Setting = float | int
Interactions = Literal["positive", "all"]
Fit = Callable[[Setting], corpus_ranking.Scorer]
Method = Callable[[sparse.csr_matrix, sparse.csr_matrix], Fit]


def grid(values: Setting | tuple[Setting, ...]) -> tuple[Setting, ...]:
    """The values of a setting that a config gives as one value or several, ascending."""
    return tuple(sorted(set(values))) if isinstance(values, tuple) else (values,)


def item_knn_method(most_neighbours: int) -> Method:
    """item_knn of a learned matrix and profiles, as a function of the number of neighbours."""

    def learn(matrix: sparse.csr_matrix, profiles: sparse.csr_matrix) -> Fit:
        neighbours = collaborative.cosine_neighbours(matrix, most_neighbours)
        return lambda setting: collaborative.ItemKnnScorer(
            profiles, collaborative.nearest(neighbours, int(setting))
        )

    return learn


def ease_method(matrix: sparse.csr_matrix, profiles: sparse.csr_matrix) -> Fit:
    """EASE of a learned matrix and profiles, as a function of the penalty's weight."""
    gram = co_occurrences(matrix)
    return lambda setting: collaborative.EaseScorer(profiles, ease_weights(gram, setting))


@dataclass(frozen=True)
class TunedBaseline:
    """A baseline for the test queries, and how it was chosen.

    Attributes:
        scorer: scorer of the test queries.
        setting: the chosen setting.
        interactions: kind of interactions it learned from.
        validation: the metrics of each choice on validation; empty without a choice.
    """

    scorer: corpus_ranking.Scorer
    setting: Setting
    interactions: Interactions
    validation: list[dict[str, int | float | str]]


def fit_collaborative(
    method: Method,
    inputs: evaluated_data.EvaluationInputs,
    *,
    settings: tuple[Setting, ...],
    learn_from: tuple[int, ...],
    metrics: tuple[str, ...],
) -> TunedBaseline:
    """Chooses setting and interactions on validation and fits for test.

    Args:
        method: `item_knn_method(..)` or `ease_method`.
        inputs: interactions and queries.
        settings: settings to choose from, ascending; without validation queries, the middle one is
            used.
        learn_from: splits that the matrix for test is made from. The matrix for validation is
            made from the training split only, and a test query's profile always has the query's
            validation events.
        metrics: names such as `ndcg@10`; their sum on validation decides (ties: the first).
    """
    kinds = [True] if bool(inputs.log.positive.all()) else [True, False]
    best = (kinds[0], settings[len(settings) // 2])
    tried: list[dict[str, int | float | str]] = []
    if len(kinds) * len(settings) > 1 and inputs.validation is not None:
        highest = -1.0
        for positives_only in kinds:
            fit = _learn(method, inputs, inputs.validation, (TRAIN,), (TRAIN,), positives_only)
            for setting in settings:
                figures = _measure(fit(setting), inputs.validation, inputs.eligible, metrics)
                kind = _name(positives_only)
                tried.append({"setting": setting, "interactions": kind, **figures})
                if sum(figures.values()) > highest:
                    highest, best = sum(figures.values()), (positives_only, setting)
    positives_only, setting = best
    fit = _learn(method, inputs, inputs.test, learn_from, (TRAIN, VALIDATION), positives_only)
    return TunedBaseline(fit(setting), setting, _name(positives_only), tried)


def _measure(
    scorer: corpus_ranking.Scorer,
    query_set: QuerySet,
    eligible: NDArray[np.bool_],
    metrics: tuple[str, ...],
) -> dict[str, float]:
    k = max(int(name.partition("@")[2]) for name in metrics)
    judged = judge(corpus_ranking.rank_corpus(scorer, query_set, eligible, k), query_set.truth)
    return {name: float(per_query(name, judged).mean()) for name in metrics}


def _name(positives_only: bool) -> Interactions:
    return "positive" if positives_only else "all"


def _learn(
    method: Method,
    inputs: evaluated_data.EvaluationInputs,
    query_set: QuerySet,
    learn_from: tuple[int, ...],
    profile_from: tuple[int, ...],
    positives_only: bool,
) -> Fit:
    log, num_candidates = inputs.log, len(inputs.corpus)
    learned = collaborative.window(log, learn_from, positives_only=positives_only)
    matrix = collaborative.interaction_matrix(log, learned, num_candidates)
    chosen = collaborative.window(log, profile_from, positives_only=positives_only)
    profiles = collaborative.profile_matrix(log, chosen, query_set, num_candidates)
    popular = collaborative.PopularityScorer(_popularity(log, learn_from, num_candidates))
    has_profile = np.diff(profiles.indptr) > 0
    fit = method(matrix, profiles)
    return lambda setting: collaborative.FallbackScorer(fit(setting), popular, has_profile)


def _popularity(
    log: evaluated_data.InteractionLog, splits: tuple[int, ...], num_candidates: int
) -> NDArray[np.int64]:
    return collaborative.interaction_counts(
        log, collaborative.window(log, splits, positives_only=True), num_candidates, distinct=True
    )
