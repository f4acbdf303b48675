"""Which baselines the data allows, fitted and ready to rank."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tfrs_twotower.closed_form.bm25 import ANALYSER, Bm25Index
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation.baselines.bm25 import Bm25Scorer
from tfrs_twotower.evaluation.baselines.collaborative import (
    Method,
    Setting,
    ease_method,
    fit_collaborative,
    grid,
    item_knn_method,
)
from tfrs_twotower.evaluation.baselines.hybrid import HybridScorer, tune_weight
from tfrs_twotower.evaluation.baselines.popularity import (
    PopularityScorer,
    interaction_counts,
    recent,
)
from tfrs_twotower.evaluation.inputs import TRAIN, VALIDATION, EvaluationInputs
from tfrs_twotower.evaluation.interaction_matrix import window
from tfrs_twotower.evaluation.ranking import EmbeddingScorer, Scorer

NAMES = ("popularity", "recent_popularity", "item_knn", "ease", "bm25", "hybrid")
_FUSION_DEPTH_FACTOR = 3


@dataclass
class Baselines:
    """Scorers of the test queries by name, with their settings, and what was left out and why."""

    scorers: dict[str, Scorer] = field(default_factory=dict)
    settings: dict[str, dict[str, object]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    text_index: Bm25Index | None = None

    def add(self, name: str, scorer: Scorer, **settings: object) -> None:
        """Takes a fitted baseline in."""
        self.scorers[name] = scorer
        self.settings[name] = settings


def reasons_against(inputs: EvaluationInputs, config: EvaluateConfig) -> dict[str, str]:
    """Baselines that cannot be computed on this data, with the reason."""
    reasons: dict[str, str] = {}
    test = inputs.test
    if not bool((test.num_events > 0).any()):
        reason = "no test query has an earlier event"
        reasons |= {"item_knn": reason, "ease": reason}
        if test.texts is not None and inputs.corpus.texts is not None:
            reason = "text retrieval: no test query has an earlier event"
            reasons |= {"popularity": reason, "recent_popularity": reason}
    if len(inputs.corpus) > config.ease_max_candidates:
        reasons["ease"] = (
            f"the corpus has {len(inputs.corpus)} candidates, "
            f"evaluate.ease_max_candidates is {config.ease_max_candidates}"
        )
    if not bool((inputs.log.timestamp > 0).any()):
        reasons["recent_popularity"] = "the interactions have no time"
    if test.texts is None or inputs.corpus.texts is None:
        reasons["bm25"] = "the two sides do not both have text"
    if "bm25" in reasons:
        reasons["hybrid"] = reasons["bm25"]
    elif inputs.validation is None:
        reasons["hybrid"] = "there are no validation queries to tune its weight on"
    return reasons


def fit_baselines(
    inputs: EvaluationInputs,
    config: EvaluateConfig,
    *,
    refit: bool,
    recent_days: float,
    metrics: tuple[str, ...],
    progress: Callable[[str], None],
) -> Baselines:
    """Fits every baseline that is asked for and possible.

    Args:
        inputs: corpus, interactions, queries.
        config: which baselines, and their settings.
        refit: whether the model was trained again on train and validation together; baselines
            learn from the same interactions as the model.
        recent_days: window of `recent_popularity`.
        metrics: decide what is tuned on validation, by their sum.
        progress: told the name of each baseline before it is fitted.
    """
    learn_from = (TRAIN, VALIDATION) if refit else (TRAIN,)
    result = Baselines()
    reasons = reasons_against(inputs, config)
    for name in NAMES:
        if config.baselines is not None and name not in config.baselines:
            continue
        if name in reasons:
            result.left_out[name] = reasons[name]
            continue
        progress(name)
        _fit(name, inputs, config, learn_from, recent_days, metrics, result)
    return result


def _fit(
    name: str,
    inputs: EvaluationInputs,
    config: EvaluateConfig,
    learn_from: tuple[int, ...],
    recent_days: float,
    metrics: tuple[str, ...],
    result: Baselines,
) -> None:
    num_candidates = len(inputs.corpus)
    learned = window(inputs.log, learn_from, positives_only=True)
    distinct = inputs.split.new_pairs_only
    counted = "queries" if distinct else "events"
    if name == "popularity":
        counts = interaction_counts(inputs.log, learned, num_candidates, distinct=distinct)
        result.add(name, PopularityScorer(counts), interactions="positive", counts=counted)
    elif name == "recent_popularity":
        lately = recent(inputs.log, learned, recent_days)
        counts = interaction_counts(inputs.log, lately, num_candidates, distinct=distinct)
        result.add(
            name,
            PopularityScorer(counts),
            interactions="positive",
            counts=counted,
            days=recent_days,
        )
    elif name == "item_knn":
        neighbours = grid(config.item_knn_neighbours)
        method = item_knn_method(int(neighbours[-1]))
        _add_tuned(name, "neighbours", method, neighbours, inputs, learn_from, metrics, result)
    elif name == "ease":
        l2 = grid(config.ease_lambda)
        _add_tuned(name, "lambda", ease_method, l2, inputs, learn_from, metrics, result)
    else:
        _fit_text(name, inputs, config, metrics, result)


def _add_tuned(
    name: str,
    setting: str,
    method: Method,
    values: tuple[Setting, ...],
    inputs: EvaluationInputs,
    learn_from: tuple[int, ...],
    metrics: tuple[str, ...],
    result: Baselines,
) -> None:
    fitted = fit_collaborative(
        method, inputs, settings=values, learn_from=learn_from, metrics=metrics
    )
    result.add(
        name,
        fitted.scorer,
        **{setting: fitted.setting, "interactions": fitted.interactions},
        **({"chosen_from": list(values)} if fitted.validation and len(values) > 1 else {}),
        **({"validation": fitted.validation} if fitted.validation else {}),
    )


def _fit_text(
    name: str,
    inputs: EvaluationInputs,
    config: EvaluateConfig,
    metrics: tuple[str, ...],
    result: Baselines,
) -> None:
    index = result.text_index
    if index is None:
        index = Bm25Index(inputs.corpus.texts or [], k1=config.bm25_k1, b=config.bm25_b)
        result.text_index = index
    sparse = Bm25Scorer(index, inputs.test.texts or [])
    if name == "bm25":
        result.add(name, sparse, k1=config.bm25_k1, b=config.bm25_b, analyser=ANALYSER)
        return
    validation = inputs.validation
    if validation is None:
        raise ValueError("hybrid needs validation queries")
    candidates = inputs.candidate_embeddings
    tuned = tune_weight(
        EmbeddingScorer(validation.embeddings, candidates),
        Bm25Scorer(index, validation.texts or []),
        validation,
        inputs.eligible,
        metrics,
        _FUSION_DEPTH_FACTOR * max(config.ks),
    )
    dense = EmbeddingScorer(inputs.test.embeddings, candidates)
    result.add(
        name,
        HybridScorer(dense, sparse, tuned.weight),
        retrieval_weight=tuned.weight,
        validation=tuned.curve,
    )
