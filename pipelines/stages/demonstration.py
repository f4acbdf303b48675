"""The end of the demo: one answered query as text, and the overlap of two bundles."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.stages.context import StageContext
from serving.bundle import loading, measures
from serving.graph import names
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.specs import HistoryFeature

_NUM_AGREEMENT_QUERIES = 200


@dataclass(frozen=True)
class Recommendation:
    """The history of one query, and the bundle's answer."""

    query_id: str
    features: dict[str, str]
    """The query's features other than histories."""
    history: list[str]
    """Titles of its latest candidates before the split, most recent first."""
    titles: list[str]
    """Titles of the answer, best first."""
    scores: list[float]
    relevant: list[bool]
    """Whether each candidate of the answer is one of the query's held-out candidates."""
    model_version: str


def recommend_to_one_query(context: StageContext, bundle: str, length: int = 10) -> Recommendation:
    """Asks a bundle for the test query with the median number of events.

    Args:
        context: the run, whose export stage has finished.
        bundle: name of one of its bundles.
        length: largest number of titles in each list.
    """
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    queries = load_query_set(context.layout.preprocessed, "test", context.spec, corpus)
    position = int(np.argmin(np.abs(queries.num_events - np.median(queries.num_events))))
    loaded = loading.load_bundle(context.layout.bundle / bundle)
    seen = corpus.ids[queries.seen[position]]
    inputs: dict[str, Any] = {name: raw[[position]] for name, raw in queries.inputs.items()}
    inputs[names.EXCLUDE_IDS] = np.array([["", *seen]], object)
    answer = loaded.ask(names.SERVING_DEFAULT, inputs)
    listed_ids = [id_ for id_ in answer[names.CANDIDATE_IDS][0][:length] if id_]
    relevant = set(queries.truth.relevant[position].tolist())
    rows = corpus.row_of(listed_ids)
    return Recommendation(
        query_id=queries.ids[position],
        features=_plain_features(context, queries, position),
        history=_history_titles(context, queries, position, corpus, length),
        titles=[corpus.name(row) for row in rows],
        scores=[float(score) for score in answer[names.SCORES][0][: len(listed_ids)]],
        relevant=[int(row) in relevant for row in rows],
        model_version=_text(answer[names.MODEL_VERSION][0]),
    )


def agreement_of_bundles(context: StageContext, bundle: str, reference: str) -> float:
    """Overlap of two bundles' answers on test queries; 1 if they agree on every candidate."""
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    queries = load_query_set(context.layout.preprocessed, "test", context.spec, corpus)
    sample = {name: raw[:_NUM_AGREEMENT_QUERIES] for name, raw in queries.inputs.items()}
    root = context.layout.bundle
    return measures.bundle_agreement(root / bundle, root / reference, sample)


def _plain_features(context: StageContext, queries: QuerySet, position: int) -> dict[str, str]:
    features = {}
    for feature in context.spec.query.features:
        if not isinstance(feature, HistoryFeature):
            value = queries.inputs[feature.name][position]
            features[feature.name] = _text(value) if isinstance(value, bytes) else f"{value}"
    return features


def _history_titles(
    context: StageContext, queries: QuerySet, position: int, corpus: Corpus, length: int
) -> list[str]:
    if not context.spec.histories:
        return []
    ids = queries.inputs[context.spec.histories[0].name][position]
    ids = [id_ for id_ in ids if id_][:length]
    known = zip(ids, corpus.row_of(ids), strict=True)
    return [corpus.titles[row] or _text(id_) for id_, row in known if row >= 0]


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")
