"""item_knn and EASE: which interactions they learn from is chosen on validation.

Both may learn from positive interactions only or from all of them (a low rating still says that
the query chose the candidate). Neither is always better, so the better one on the validation
queries is taken, as a model's settings are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.evaluation.baselines.ease import EaseScorer, ease_weights
from tfrs_twotower.evaluation.baselines.fallback import FallbackScorer
from tfrs_twotower.evaluation.baselines.item_knn import ItemKnnScorer, cosine_neighbours
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

Method = Callable[[sparse.csr_matrix, sparse.csr_matrix], Scorer]


def item_knn_method(num_neighbours: int) -> Method:
    """item_knn as a function of the learned matrix and the profiles."""

    def build(matrix: sparse.csr_matrix, profiles: sparse.csr_matrix) -> Scorer:
        return ItemKnnScorer(profiles, cosine_neighbours(matrix, num_neighbours))

    return build


def ease_method(l2: float) -> Method:
    """EASE as a function of the learned matrix and the profiles."""

    def build(matrix: sparse.csr_matrix, profiles: sparse.csr_matrix) -> Scorer:
        return EaseScorer(profiles, ease_weights(matrix, l2))

    return build


@dataclass(frozen=True)
class Fitted:
    """A baseline for the test queries, and what was found on validation."""

    scorer: Scorer
    settings: dict[str, object]


def fit_collaborative(
    method: Method,
    inputs: EvaluationInputs,
    *,
    learn_from: tuple[int, ...],
    metrics: tuple[str, ...],
) -> Fitted:
    """Chooses the interactions on validation and fits for test.

    Args:
        method: `item_knn_method` or `ease_method`.
        inputs: interactions and queries.
        learn_from: splits that the matrix for test is made from. (For validation it is the
            training split alone.) A test query's own profile always has its validation events.
        metrics: names such as `ndcg@10`; their sum on validation decides.
    """
    log = inputs.log
    choices = [True] if bool(log.positive.all()) else [True, False]
    found: dict[str, float] = {}
    if len(choices) > 1 and inputs.validation is not None:
        k = max(int(name.partition("@")[2]) for name in metrics)
        for positives_only in choices:
            scorer = _fit(method, inputs, inputs.validation, (TRAIN,), (TRAIN,), positives_only)
            ranked = rank_corpus(scorer, inputs.validation, inputs.eligible, k)
            judged = judge(ranked, inputs.validation.truth)
            found[_name(positives_only)] = sum(
                float(per_query(name, judged).mean()) for name in metrics
            )
    positives_only = max(choices, key=lambda choice: found.get(_name(choice), 0.0))
    scorer = _fit(method, inputs, inputs.test, learn_from, (TRAIN, VALIDATION), positives_only)
    settings: dict[str, object] = {"interactions": _name(positives_only)}
    if found:
        settings["validation"] = found
    return Fitted(scorer, settings)


def _name(positives_only: bool) -> str:
    return "positive" if positives_only else "all"


def _fit(
    method: Method,
    inputs: EvaluationInputs,
    query_set: QuerySet,
    learn_from: tuple[int, ...],
    profile_from: tuple[int, ...],
    positives_only: bool,
) -> Scorer:
    log, num_candidates = inputs.log, len(inputs.corpus)
    learned = window(log, learn_from, positives_only=positives_only)
    matrix = interaction_matrix(log, learned, num_candidates)
    chosen = window(log, profile_from, positives_only=positives_only)
    profiles = profile_matrix(log, chosen, query_set, num_candidates)
    popular = PopularityScorer(_popularity(log, learn_from, num_candidates))
    has_profile = np.diff(profiles.indptr) > 0
    return FallbackScorer(method(matrix, profiles), popular, has_profile)


def _popularity(
    log: InteractionLog, splits: tuple[int, ...], num_candidates: int
) -> NDArray[np.int64]:
    return interaction_counts(
        log, window(log, splits, positives_only=True), num_candidates, distinct=True
    )
