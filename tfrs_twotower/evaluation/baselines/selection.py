"""Chooses the baselines that the data allows, and fits them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from tfrs_twotower.closed_form.bm25 import ANALYSER, Bm25Index
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation import corpus_ranking, evaluated_data, evaluation_document
from tfrs_twotower.evaluation.baselines import collaborative, text_baselines, tuned_baselines
from tfrs_twotower.specs import TRAIN, VALIDATION

NAMES = ("popularity", "recent_popularity", "item_knn", "ease", "bm25", "hybrid")
_FUSION_DEPTH_FACTOR = 3

Fitted = tuple[corpus_ranking.Scorer, evaluation_document.BaselineSettings]
"""A scorer of the test queries, and its settings."""


@dataclass(frozen=True)
class Baselines:
    """The baselines of one evaluation, by name.

    Attributes:
        scorers: scorers of the test queries, by name.
        settings: settings of each scorer.
        left_out: baselines that cannot be computed, with the reason.
    """

    scorers: dict[str, corpus_ranking.Scorer] = field(default_factory=dict)
    settings: dict[str, evaluation_document.BaselineSettings] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def reasons_against(
    inputs: evaluated_data.EvaluationInputs, config: EvaluateConfig
) -> dict[str, str]:
    """Baselines that cannot be computed on this data, with the reason."""
    reasons: dict[str, str] = {}
    test = inputs.test
    if not bool((test.num_events > 0).any()):
        reason = "no test query has an earlier event"
        reasons |= {"item_knn": reason, "ease": reason}
        if test.texts is not None and inputs.corpus.texts is not None:
            reason = "text retrieval: no test query has an earlier event"
            reasons |= {"popularity": reason, "recent_popularity": reason}
    if not len(inputs.log):
        learning = ("popularity", "recent_popularity", "item_knn", "ease")
        reasons |= dict.fromkeys(learning, "there are no interactions to learn from")
    elif len(inputs.corpus) > config.ease_max_candidates:
        reasons["ease"] = (
            f"the corpus has {len(inputs.corpus)} candidates, "
            f"evaluate.ease_max_candidates is {config.ease_max_candidates}"
        )
    if len(inputs.log) and not bool((inputs.log.timestamp > 0).any()):
        reasons["recent_popularity"] = "the interactions have no time"
    if test.texts is None or inputs.corpus.texts is None:
        reasons["bm25"] = "the two sides do not both have text"
    if "bm25" in reasons:
        reasons["hybrid"] = reasons["bm25"]
    elif inputs.validation is None:
        reasons["hybrid"] = "there are no validation queries to tune its weight on"
    elif not len(inputs.validation.embeddings):
        reasons["hybrid"] = (
            "there are no embeddings of validation queries by towers that have not learned them; "
            "run embed again"
        )
    return reasons


def fit_baselines(
    inputs: evaluated_data.EvaluationInputs,
    config: EvaluateConfig,
    *,
    refit: bool,
    recent_days: float,
    metrics: tuple[str, ...],
    progress: Callable[[str], None],
) -> Baselines:
    """Fits every baseline that the config names and the data allows.

    Args:
        inputs: corpus, interactions, queries.
        config: names of the baselines, and their settings.
        refit: whether the model was trained again on train and validation together; baselines
            learn from the same interactions as the model.
        recent_days: window of `recent_popularity`.
        metrics: metrics whose sum on validation is maximised in tuning.
        progress: receives the name of each baseline before it is fitted.
    """
    fitting = _Fitting(inputs, config, (TRAIN, VALIDATION) if refit else (TRAIN,), metrics)
    fit: dict[str, Callable[[], Fitted]] = {
        "popularity": fitting.popularity,
        "recent_popularity": lambda: fitting.recent_popularity(recent_days),
        "item_knn": fitting.item_knn,
        "ease": fitting.ease,
        "bm25": fitting.bm25,
        "hybrid": fitting.hybrid,
    }
    baselines = Baselines()
    reasons = reasons_against(inputs, config)
    for name in NAMES:
        if config.baselines is not None and name not in config.baselines:
            continue
        if name in reasons:
            baselines.left_out[name] = reasons[name]
            continue
        progress(name)
        baselines.scorers[name], baselines.settings[name] = fit[name]()
    return baselines


@dataclass(frozen=True)
class _Fitting:
    """Fits the baselines of one evaluation.

    Attributes:
        inputs: corpus, interactions, queries.
        config: settings of the baselines.
        learn_from: the splits that the model learned from.
        metrics: metrics whose sum on validation is maximised in tuning.
    """

    inputs: evaluated_data.EvaluationInputs
    config: EvaluateConfig
    learn_from: tuple[int, ...]
    metrics: tuple[str, ...]

    def popularity(self, days: float | None = None) -> Fitted:
        """Ranks by the number of interactions in training, or in its last days."""
        log, distinct = self.inputs.log, self.inputs.split.new_pairs_only
        learned = collaborative.window(log, self.learn_from, positives_only=True)
        if days is not None:
            learned = collaborative.recent(log, learned, days)
        counts = collaborative.interaction_counts(
            log, learned, len(self.inputs.corpus), distinct=distinct
        )
        settings = evaluation_document.BaselineSettings(
            interactions="positive", counts="queries" if distinct else "events"
        )
        return collaborative.PopularityScorer(counts), settings

    def recent_popularity(self, days: float) -> Fitted:
        """Ranks by the number of interactions in the last days of training."""
        scorer, settings = self.popularity(days)
        return scorer, settings.model_copy(update={"days": days})

    def item_knn(self) -> Fitted:
        """Neighbours of the profile; their number is tuned."""
        neighbours = tuned_baselines.grid(self.config.item_knn_neighbours)
        return self._tuned(
            "neighbours", tuned_baselines.item_knn_method(int(neighbours[-1])), neighbours
        )

    def ease(self) -> Fitted:
        """The linear autoencoder; its penalty is tuned."""
        return self._tuned(
            "penalty", tuned_baselines.ease_method, tuned_baselines.grid(self.config.ease_lambda)
        )

    def bm25(self) -> Fitted:
        """Ranks by the words that a query and a candidate share."""
        k1, b = self.config.bm25_k1, self.config.bm25_b
        scorer = text_baselines.Bm25Scorer(self._text_index, self.inputs.test.texts or [])
        return scorer, evaluation_document.BaselineSettings(k1=k1, b=b, analyser=ANALYSER)

    def hybrid(self) -> Fitted:
        """BM25 and retrieval; the weight is tuned by towers that have not learned validation."""
        test, validation = self.inputs.test, self.inputs.validation
        if validation is None:
            raise ValueError("hybrid needs validation queries")
        candidates, first_fit = self.inputs.corpus.vectors, self.inputs.first_fit_vectors
        tuned = text_baselines.tune_weight(
            corpus_ranking.EmbeddingScorer(
                validation.embeddings, candidates if first_fit is None else first_fit
            ),
            text_baselines.Bm25Scorer(self._text_index, validation.texts or []),
            validation,
            self.inputs.eligible,
            self.metrics,
            _FUSION_DEPTH_FACTOR * max(self.config.ks),
        )
        scorer = text_baselines.HybridScorer(
            corpus_ranking.EmbeddingScorer(test.embeddings, candidates),
            text_baselines.Bm25Scorer(self._text_index, test.texts or []),
            tuned.weight,
        )
        return scorer, evaluation_document.BaselineSettings(
            retrieval_weight=tuned.weight, validation=tuple(tuned.curve)
        )

    @cached_property
    def _text_index(self) -> Bm25Index:
        texts = self.inputs.corpus.texts or []
        return Bm25Index(texts, k1=self.config.bm25_k1, b=self.config.bm25_b)

    def _tuned(
        self,
        setting: str,
        method: tuned_baselines.Method,
        values: tuple[tuned_baselines.Setting, ...],
    ) -> Fitted:
        tuned = tuned_baselines.fit_collaborative(
            method,
            self.inputs,
            settings=values,
            learn_from=self.learn_from,
            metrics=self.metrics,
        )
        settings: dict[str, object] = {setting: tuned.setting, "interactions": tuned.interactions}
        if tuned.validation:
            settings |= {"chosen_from": values} if len(values) > 1 else {}
            settings |= {"validation": tuple(tuned.validation)}
        return tuned.scorer, evaluation_document.BaselineSettings.model_validate(settings)
