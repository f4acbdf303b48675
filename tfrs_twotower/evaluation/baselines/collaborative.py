"""item_knn and EASE, tuned on validation as the model is: their setting, and what they learn from.

The setting is the number of neighbours or the weight of the penalty. Both may learn from positive
interactions only or from all of them (a low rating still says that the query chose the
candidate); neither is always better.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.closed_form.ease import co_occurrences, ease_weights
from tfrs_twotower.evaluation.baselines.ease import EaseScorer
from tfrs_twotower.evaluation.baselines.fallback import FallbackScorer
from tfrs_twotower.evaluation.baselines.item_knn import ItemKnnScorer, cosine_neighbours, nearest
from tfrs_twotower.evaluation.baselines.popularity import PopularityScorer, interaction_counts
from tfrs_twotower.evaluation.inputs import (
    TRAIN,
    VALIDATION,
    EvaluationInputs,
    InteractionLog,
    QuerySet,
)
from tfrs_twotower.evaluation.interaction_matrix import interaction_matrix, profile_matrix, window
from tfrs_twotower.evaluation.ranking import Scorer, rank_corpus
from tfrs_twotower.metrics import judge, per_query

Setting = float | int
Fit = Callable[[Setting], Scorer]
Method = Callable[[sparse.csr_matrix, sparse.csr_matrix], Fit]


def grid(values: Setting | tuple[Setting, ...]) -> tuple[Setting, ...]:
    """A config's one value or several, ascending."""
    return tuple(sorted(set(values))) if isinstance(values, tuple) else (values,)


def item_knn_method(most_neighbours: int) -> Method:
    """item_knn of a learned matrix and profiles, as a function of the number of neighbours."""

    def learn(matrix: sparse.csr_matrix, profiles: sparse.csr_matrix) -> Fit:
        neighbours = cosine_neighbours(matrix, most_neighbours)
        return lambda setting: ItemKnnScorer(profiles, nearest(neighbours, int(setting)))

    return learn


def ease_method(matrix: sparse.csr_matrix, profiles: sparse.csr_matrix) -> Fit:
    """EASE of a learned matrix and profiles, as a function of the penalty's weight."""
    gram = co_occurrences(matrix)
    return lambda setting: EaseScorer(profiles, ease_weights(gram, setting))


@dataclass(frozen=True)
class Fitted:
    """A baseline for the test queries, and how it was chosen.

    Attributes:
        scorer: of the test queries.
        setting: the one taken.
        interactions: `positive` or `all`.
        validation: what each choice reached on validation; empty where there was no choice.
    """

    scorer: Scorer
    setting: Setting
    interactions: str
    validation: list[dict[str, object]]


def fit_collaborative(
    method: Method,
    inputs: EvaluationInputs,
    *,
    settings: tuple[Setting, ...],
    learn_from: tuple[int, ...],
    metrics: tuple[str, ...],
) -> Fitted:
    """Chooses setting and interactions on validation and fits for test.

    Args:
        method: `item_knn_method(..)` or `ease_method`.
        inputs: interactions and queries.
        settings: to choose from, ascending; without validation queries the middle one is taken.
        learn_from: splits that the matrix for test is made from. (For validation it is the
            training split alone.) A test query's own profile always has its validation events.
        metrics: names such as `ndcg@10`; their sum on validation decides (ties: the first).
    """
    kinds = [True] if bool(inputs.log.positive.all()) else [True, False]
    best = (kinds[0], settings[len(settings) // 2])
    tried: list[dict[str, object]] = []
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
    return Fitted(fit(setting), setting, _name(positives_only), tried)


def _measure(
    scorer: Scorer, query_set: QuerySet, eligible: NDArray[np.bool_], metrics: tuple[str, ...]
) -> dict[str, float]:
    k = max(int(name.partition("@")[2]) for name in metrics)
    judged = judge(rank_corpus(scorer, query_set, eligible, k), query_set.truth)
    return {name: float(per_query(name, judged).mean()) for name in metrics}


def _name(positives_only: bool) -> str:
    return "positive" if positives_only else "all"


def _learn(
    method: Method,
    inputs: EvaluationInputs,
    query_set: QuerySet,
    learn_from: tuple[int, ...],
    profile_from: tuple[int, ...],
    positives_only: bool,
) -> Fit:
    log, num_candidates = inputs.log, len(inputs.corpus)
    learned = window(log, learn_from, positives_only=positives_only)
    matrix = interaction_matrix(log, learned, num_candidates)
    chosen = window(log, profile_from, positives_only=positives_only)
    profiles = profile_matrix(log, chosen, query_set, num_candidates)
    popular = PopularityScorer(_popularity(log, learn_from, num_candidates))
    has_profile = np.diff(profiles.indptr) > 0
    fit = method(matrix, profiles)
    return lambda setting: FallbackScorer(fit(setting), popular, has_profile)


def _popularity(
    log: InteractionLog, splits: tuple[int, ...], num_candidates: int
) -> NDArray[np.int64]:
    return interaction_counts(
        log, window(log, splits, positives_only=True), num_candidates, distinct=True
    )
