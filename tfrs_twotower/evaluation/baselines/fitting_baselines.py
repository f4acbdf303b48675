"""Fits the selected baselines, one after the other, with settings that validation chose."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

from tfrs_twotower.closed_form.bm25 import ANALYSER, Bm25Index
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation import corpus_ranking, evaluated_data, protocol_document
from tfrs_twotower.evaluation.baselines import (
    profile_models,
    selection,
    setting_search,
    text_baselines,
    tuned_baselines,
)

_FUSION_DEPTH_FACTOR = 3
_DROPOUTS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
_DIAGONALS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75)
_HALF_LIVES = (8.0, 32.0)
_Setting = TypeVar("_Setting", setting_search.Choice, float)
Variant = tuple[tuple[str, ...], Callable[[], corpus_ranking.Scorer]]


@dataclass(frozen=True)
class FittedBaseline:
    """One baseline for the test queries.

    Attributes:
        name: its name.
        settings: its settings, for the report.
        variants: scorers of the test queries, made when they are called for, each with the metrics
            that it is for; the first one is for the first metric. A baseline without settings has
            one for all.
    """

    name: str
    settings: protocol_document.BaselineSettings
    variants: tuple[Variant, ...]


def fit_baselines(
    names: tuple[str, ...],
    inputs: evaluated_data.EvaluationInputs,
    config: EvaluateConfig,
    *,
    refit: bool,
    recent_days: float,
    metrics: tuple[str, ...],
    progress: Callable[[str], None] = lambda name: None,
) -> Iterator[FittedBaseline]:
    """Fits baselines, one at a time, so that no two of them are in memory.

    Args:
        names: `select(..).names`.
        inputs: corpus, interactions, queries.
        config: their settings.
        refit: whether the model was trained again on train and validation together; baselines
            learn from the same interactions as the model.
        recent_days: window of `recent_popularity`, from which its search starts.
        metrics: the metrics that settings are chosen for, the most important first.
        progress: receives the name of each baseline before it is fitted.
    """
    fitting = _Fitting(inputs, config, selection.splits_of(refit), recent_days, metrics)
    for name in names:
        progress(name)
        yield fitting.fit(name)


@dataclass(frozen=True)
class _Fitting:
    """Fits the baselines of one evaluation.

    Attributes:
        inputs: corpus, interactions, queries.
        config: settings of the baselines.
        learn_from: the splits that the model learned from.
        recent_days: see `fit_baselines`.
        metrics: metrics that settings are chosen for.
    """

    inputs: evaluated_data.EvaluationInputs
    config: EvaluateConfig
    learn_from: tuple[int, ...]
    recent_days: float
    metrics: tuple[str, ...]

    def fit(self, name: str) -> FittedBaseline:
        """Fits the baseline of that name."""
        match name:
            case "popularity":
                return self._popularity()
            case "bm25":
                return self._bm25()
            case "hybrid":
                return self._hybrid()
            case _:
                return self._tuned(name)

    def _method(self, name: str) -> tuned_baselines.Method:
        config, penalties = self.config, self.config.ease_lambda
        if name == "recent_popularity":
            return profile_models.recent_popularity(self.recent_days)
        if name == "item_knn":
            return profile_models.item_knn(config.item_knn_neighbours, len(self.inputs.corpus))
        if name == "ials":
            vectors = len(self.inputs.log.query_ids) + len(self.inputs.corpus)
            return profile_models.ials(len(self.inputs.log), vectors)
        order = selection.matrix_order(self.inputs, self.learn_from)
        if name == "rdlae":
            return profile_models.linear(penalties, order, dropouts=_DROPOUTS, diagonals=_DIAGONALS)
        half_lives = _HALF_LIVES if name == "recent_ease" else ()
        return profile_models.linear(penalties, order, half_lives=half_lives)

    def _popularity(self) -> FittedBaseline:
        learned = tuned_baselines.LearnedFrom.splits(self.inputs, self.learn_from, True)
        settings = protocol_document.BaselineSettings(
            interactions="positive", counts="queries" if learned.distinct else "events"
        )
        return FittedBaseline("popularity", settings, ((self.metrics, learned.popularity),))

    def _tuned(self, name: str) -> FittedBaseline:
        method = self._method(name)
        tuned = tuned_baselines.TunedBaseline(
            method, self.inputs, learn_from=self.learn_from, metrics=self.metrics
        )
        tuning = tuned.tuning

        def in_words(choice: setting_search.Choice) -> dict[str, int | float | str]:
            kind = "positive" if choice.positives_only else "all"
            return {**method.grid.named(choice.setting), "interactions": kind}

        settings: dict[str, object] = {**in_words(tuning.best[self.metrics[0]])}
        if tuning.tried:
            if len(method.grid.axes) == 1:
                settings["chosen_from"] = sorted({choice.setting[0] for choice in tuning.tried})
            settings |= {
                "chosen_for": {name: in_words(choice) for name, choice in tuning.best.items()},
                "search": _search_in_words(tuning, method.grid),
                "validation": tuple(
                    {**in_words(choice), **figures} for choice, figures in tuning.tried.items()
                ),
            }
        return FittedBaseline(
            name,
            protocol_document.BaselineSettings.model_validate(settings),
            _variants(tuning.best, tuned.scorer),
        )

    def _bm25(self) -> FittedBaseline:
        """Ranks by the words that a query and a candidate share."""
        k1, b = self.config.bm25_k1, self.config.bm25_b
        settings = protocol_document.BaselineSettings(k1=k1, b=b, analyser=ANALYSER)
        texts, index = self.inputs.test.texts or [], self._text_index
        return FittedBaseline(
            "bm25", settings, ((self.metrics, lambda: text_baselines.Bm25Scorer(index, texts)),)
        )

    def _hybrid(self) -> FittedBaseline:
        """BM25 and retrieval; the weight is tuned by towers that have not learned validation."""
        test, validation = self.inputs.test, self.inputs.validation
        if validation is None:
            raise ValueError("hybrid needs validation queries")
        candidates, index = self.inputs.corpus.vectors, self._text_index
        first_fit = self.inputs.first_fit_vectors
        queries = tuned_baselines.tuning_queries(validation, len(self.inputs.corpus))
        tuned = text_baselines.tune_weight(
            corpus_ranking.EmbeddingScorer(
                queries.embeddings, candidates if first_fit is None else first_fit
            ),
            text_baselines.Bm25Scorer(index, queries.texts or []),
            queries,
            self.inputs.eligible,
            self.metrics,
            _FUSION_DEPTH_FACTOR * max(self.config.ks),
        )

        def scorer(weight: float) -> corpus_ranking.Scorer:
            return text_baselines.HybridScorer(
                corpus_ranking.EmbeddingScorer(test.embeddings, candidates),
                text_baselines.Bm25Scorer(index, test.texts or []),
                weight,
            )

        settings = protocol_document.BaselineSettings(
            retrieval_weight=tuned.best[self.metrics[0]],
            chosen_for={name: {"retrieval_weight": own} for name, own in tuned.best.items()},
            search=f"{len(tuned.curve)} weights from 0 to 1, all there are",
            validation=tuple(tuned.curve),
        )
        return FittedBaseline("hybrid", settings, _variants(tuned.best, scorer))

    @cached_property
    def _text_index(self) -> Bm25Index:
        texts = self.inputs.corpus.texts or []
        return Bm25Index(texts, k1=self.config.bm25_k1, b=self.config.bm25_b)


def _variants(
    best: dict[str, _Setting], scorer: Callable[[_Setting], corpus_ranking.Scorer]
) -> tuple[Variant, ...]:
    metrics_of: dict[_Setting, list[str]] = {}
    for metric, setting in best.items():
        metrics_of.setdefault(setting, []).append(metric)
    return tuple(
        (tuple(metrics), partial(scorer, setting)) for setting, metrics in metrics_of.items()
    )


def _search_in_words(tuning: setting_search.Tuning, grid: setting_search.Grid) -> str:
    ending = (
        "no neighbour of a best one is better"
        if tuning.finished
        else f"ended at evaluate's limit of {grid.most_tries}, neighbours of a best one untried"
    )
    if grid.most_chosen is not None:
        ending += f"; at most {grid.most_chosen} of them are kept, since each is fitted anew"
    return f"{len(tuning.tried)} choices on validation; {ending}"
