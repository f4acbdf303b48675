"""Baselines of text: BM25, and its convex combination with retrieval (Bruch et al. 2023).

The weight of the combination is tuned on validation. Each score is normalised for each query from
its theoretical minimum (-1 for a cosine, that of Cauchy and Schwarz for vectors of other lengths, 0
for BM25) to the best score of the query in the corpus.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.closed_form.bm25 import Bm25Index
from tfrs_twotower.data.postings import COSINE_MINIMUM, Postings
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation.corpus_ranking import Scorer, chunks_of, mask_scores, rank_corpus
from tfrs_twotower.evaluation.text_retrieval import BM25_MINIMUM, WordScorer, normalised
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.ranking.order import top_k_rows

WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
FEEDBACK_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


class Bm25Scorer:
    """BM25 of each query's text."""

    def __init__(self, index: Bm25Index, query_texts: Sequence[str]) -> None:
        self._index = index
        self._terms = index.terms(query_texts)

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]` float32."""
        return np.stack([self._index.scores(self._terms[query]) for query in queries])


def dense_scores(scorer: Scorer, queries: NDArray[np.int64]) -> NDArray[np.float32]:
    """Normalised scores of a dense scorer, a cosine unless it says how low it goes."""
    lowest = getattr(scorer, "lowest", None)
    minimum = COSINE_MINIMUM if lowest is None else lowest(queries)
    return normalised(scorer(queries), minimum)


class HybridScorer:
    """weight * normalised dense score + (1 - weight) * normalised BM25 score."""

    def __init__(self, dense: Scorer, sparse: Scorer, weight: float) -> None:
        self._dense = dense
        self._sparse = sparse
        self._weight = weight

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]` float32."""
        dense = dense_scores(self._dense, queries)
        sparse = normalised(self._sparse(queries), BM25_MINIMUM)
        return np.float32(self._weight) * dense + np.float32(1.0 - self._weight) * sparse


@dataclass(frozen=True)
class TunedWeight:
    """The best weight of the dense score for each metric, and what each weight reached."""

    best: dict[str, float]
    curve: list[dict[str, int | float | str]]
    per_query: dict[str, NDArray[np.float64]]
    """`[num_weights, num_queries]` of each metric, from which `curve` has the means."""

    def cautious(self, metric: str, towards: float) -> float:
        """The weight nearest to `towards` that is not clearly worse than the best one."""
        return cautious(self.per_query[metric], WEIGHTS, WEIGHTS.index(self.best[metric]), towards)


def cautious(
    values: NDArray[np.float64], settings: Sequence[float], best: int, towards: float
) -> float:
    """The setting nearest to `towards` that is not clearly worse than the best one.

    Few queries choose among many settings by luck. A setting is kept where its paired difference
    to the best one is within one standard error (the rule of Breiman et al. 1984).

    Args:
        values: `[num_settings, num_queries]` of a metric.
        settings: what was tried.
        best: place of the best setting.
        towards: taken with fewer than two queries.
    """
    behind = values[best] - values
    num_queries = behind.shape[1]
    if num_queries < 2:
        return towards
    error = behind.std(axis=1, ddof=1) / np.sqrt(num_queries)
    kept = np.flatnonzero(behind.mean(axis=1) <= error).tolist()
    return min((settings[place] for place in kept), key=lambda one: abs(one - towards))


def tune_feedback(
    postings: Postings,
    query_sets: Sequence[QuerySet],
    eligible: NDArray[np.bool_],
    metric: str,
    towards: float,
) -> tuple[float, dict[float, float]]:
    """The share of the first passages' words in a query (`data.feedback`), by words alone.

    Args:
        postings: of texts that hold none of the queries.
        query_sets: the queries, with texts.
        eligible: `[num_candidates]` whether the candidate may be ranked.
        metric: such as `ndcg@10`.
        towards: see `cautious`.

    Returns:
        The share, and the mean of the metric with each share that was tried.
    """
    k = int(metric.partition("@")[2])
    if not any(map(len, query_sets)):
        return towards, {}

    def values(share: float) -> NDArray[np.float64]:
        parts = [
            per_query(metric, judge(rank_corpus(scorer, queries, eligible, k), queries.truth))
            for queries in query_sets
            for scorer in [WordScorer(postings, queries.texts or [], share)]
        ]
        return np.concatenate(parts)

    found = np.stack([values(share) for share in FEEDBACK_SHARES])
    means = found.mean(axis=1)
    share = cautious(found, FEEDBACK_SHARES, int(means.argmax()), towards)
    return share, dict(zip(FEEDBACK_SHARES, means.tolist(), strict=True))


def tune_weight(
    dense: Scorer,
    sparse: Scorer,
    query_set: QuerySet,
    eligible: NDArray[np.bool_],
    metrics: tuple[str, ...],
    depth: int,
) -> TunedWeight:
    """The best weight for each metric on the grid 0, .05, .. 1, all there are (ties: the largest).

    Only the first `depth` candidates of either list are fused: a candidate in neither list
    cannot rank high in their combination.

    Args:
        dense: scorer of retrieval.
        sparse: scorer with BM25 scores.
        query_set: the validation queries.
        eligible: `[num_candidates]` whether the candidate may be ranked.
        metrics: names such as `ndcg@10`.
        depth: length of the fused lists, at least the largest k of the metrics.
    """
    values = np.zeros((len(metrics), len(WEIGHTS), len(query_set)))
    for queries in chunks_of(len(query_set), len(eligible)):
        parts = [
            mask_scores(scores, queries, query_set, eligible)
            for scores in (
                dense_scores(dense, queries),
                normalised(sparse(queries), BM25_MINIMUM),
            )
        ]
        pool = _union([top_k_rows(scores, depth) for scores in parts])
        inside = np.maximum(pool, 0)
        pooled = [
            np.where(pool < 0, 0.0, np.take_along_axis(scores, inside, axis=1)) for scores in parts
        ]
        truth = query_set.truth.take(queries)
        for place, weight in enumerate(WEIGHTS):
            fused = weight * pooled[0] + (1.0 - weight) * pooled[1]
            fused = np.where(pool < 0, -np.inf, fused)
            best = top_k_rows(fused, depth)
            ranked = np.where(best >= 0, np.take_along_axis(pool, np.maximum(best, 0), axis=1), -1)
            judged = judge(ranked, truth)
            values[:, place, queries] = [per_query(name, judged) for name in metrics]
    means = values.sum(axis=2).T / max(len(query_set), 1)
    places = len(WEIGHTS) - 1 - means[::-1].argmax(axis=0)
    curve: list[dict[str, int | float | str]] = [
        {"weight": weight, **dict(zip(metrics, map(float, row), strict=True))}
        for weight, row in zip(WEIGHTS, means, strict=True)
    ]
    weights = {name: WEIGHTS[place] for name, place in zip(metrics, places, strict=True)}
    return TunedWeight(weights, curve, dict(zip(metrics, values, strict=True)))


def _union(lists: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The rows of all lists, ascending, each once; -1 in the places left over."""
    rows = np.sort(np.concatenate(lists, axis=1), axis=1)
    repeated = np.zeros(rows.shape, bool)
    repeated[:, 1:] = rows[:, 1:] == rows[:, :-1]
    return np.where(repeated, -1, rows)
