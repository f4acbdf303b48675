"""The weights of the wide part of the first stage, fitted out of fold on validation queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.layers.history_sum import HistorySum
from tfrs_twotower.metrics import judge, parse_metric, per_query
from tfrs_twotower.ranking.order import re_rank
from tfrs_twotower.specs import PADDING_ROW, UNKNOWN_ROW, FeatureSpec
from tfrs_twotower.towers import wide
from tfrs_twotower.towers.tower import Towers
from tfrs_twotower.training import combination
from tfrs_twotower.training.validation import in_chunks, rank, recall_by_length, relevant_places
from tfrs_twotower.training.wide_tables import WideTables

MOST_QUERIES = 3_000
_POOL_OF_PART = 200
_DEPTH = 100
"""nDCG at this depth decides: it sees the head of a list as well, and is less noisy than recall."""
_ENOUGH_NEW = 50


@dataclass(frozen=True)
class WideWeights:
    """The fitted weights, which are kept when the tables are fitted again.

    Attributes:
        weights: `[2, 1 + num_half_lives + num_counts]`, of known queries and of new ones.
        has_linear: whether the linear model is of use.
        linear_scale: what H is multiplied by, and F divided by.
        count_scales: `[num_counts]` the same for the log-counts.
        metric: what decided.
        before: this metric of the deep part alone.
        after: it, and further metrics, with weights that are fitted on other queries.
        recall: recall@1, recall@2 and so on with such weights.
        num_queries: queries that were measured.
    """

    weights: NDArray[np.float64]
    has_linear: bool
    linear_scale: float
    count_scales: NDArray[np.float64]
    metric: str
    before: float
    after: Mapping[str, float]
    recall: tuple[float, ...]
    num_queries: int

    def part(self, tables: WideTables) -> wide.WidePart:
        """The numbers that the towers hold.

        Both sides of each product are scaled to the same mean length, so that quantisation and
        clustering of the candidates see what the queries weigh.
        """
        num_lives = len(tables.half_lives)
        of_lives = self.weights[:, 1 : 1 + num_lives] / self.linear_scale
        of_counts = self.weights[:, 1 + num_lives :] / self.count_scales
        vectors, history, half_lives = tables.vectors, tables.history, tables.half_lives
        if not self.has_linear:
            of_lives, half_lives = of_lives[:, :0], ()
            vectors, history = vectors[:, :0], history[:, :0]
        candidates = [vectors * self.linear_scale, tables.counts * self.count_scales]
        return wide.WidePart(
            wide.WideShape(half_lives, vectors.shape[1], tables.counts.shape[1]),
            history,
            np.concatenate(candidates, axis=1).astype(np.float32),
            np.concatenate([self.weights[:, :1], of_lives, of_counts], axis=1).astype(np.float32),
        )


class _Parts:
    """The vectors of each part of the score, for validation queries and the corpus."""

    def __init__(
        self, towers: Towers, tables: WideTables, spec: FeatureSpec, corpus_tokens: Tokens
    ) -> None:
        id_feature = spec.candidate_id_feature
        assert id_feature is not None
        self.token_of_row = np.maximum(corpus_tokens[id_feature.name].numpy(), UNKNOWN_ROW)
        self.corpus = in_chunks(towers.candidate.embed_tokens, corpus_tokens)
        self.linear = tables.vectors[self.token_of_row]
        self.counts = tables.counts[self.token_of_row]
        self.num_lives = len(tables.half_lives)
        self.deep_alone = np.eye(1, 1 + self.num_lives + self.counts.shape[1])[0]
        self._towers = towers
        names = [feature.name for feature in spec.histories]
        self._history = HistorySum(names, tables.half_lives, tables.history)

    def of_queries(self, tokens: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Embeddings `[num_queries, embedding_dim]`, sums `[num_queries, num_half_lives, rank]`."""
        deep = in_chunks(self._towers.query.embed_tokens, tokens)
        if not self.num_lives:
            return deep, np.zeros((len(deep), 0, 0), np.float32)
        return deep, in_chunks(self._history, tokens)

    def rank(
        self, queries: QuerySet, weights: NDArray[np.floating], length: int
    ) -> NDArray[np.int64]:
        """Ranks the corpus for each query by its own weights `[num_queries, num_weights]`."""
        deep, sums = self.of_queries(queries.inputs)
        of_lives, of_counts = np.split(weights[:, 1:], [self.num_lives], axis=1)
        linear = np.einsum("qh,qhr->qr", of_lives, sums)
        vectors = np.concatenate([weights[:, :1] * deep, linear, of_counts], axis=1)
        corpus = np.concatenate([self.corpus, self.linear, self.counts], axis=1)
        return rank(vectors.astype(np.float32), corpus, queries, length)

    def fit(self, queries: QuerySet, metric: str, *, linear: bool) -> "_Fit":
        """Fits weights on the union of what each part would retrieve."""
        deep, sums = self.of_queries(queries.inputs)
        pairs = [(deep, self.corpus)]
        if linear:
            pairs += [(sums[:, life], self.linear) for life in range(self.num_lives)]
        alike = np.ones((len(deep), 1), np.float32)
        pairs += [(alike, column[:, None]) for column in self.counts.T]
        length = min(_POOL_OF_PART, len(self.corpus))
        rows = _union([rank(*pair, queries, length) for pair in pairs])
        present, valid = rows >= 0, np.maximum(rows, 0)
        features = np.stack(
            [
                np.stack([corpus[own] @ one for one, own in zip(vectors, valid, strict=True)])
                for vectors, corpus in pairs
            ],
            axis=2,
        )
        relevant = relevant_places(rows, queries)

        deciding = f"ndcg@{min(_DEPTH, rows.shape[1])}"

        def measure(scores: NDArray[np.floating]) -> NDArray[np.float64]:
            return np.asarray(per_query(deciding, judge(re_rank(rows, scores), queries.truth)))

        combined = combination.combine(features, relevant, present, measure)
        lists = combination.Lists.of(features, relevant, present)
        alone = float(lists.retrieval_alone()[0] / lists.spread[0])
        fit = _Fit(False, self.deep_alone, np.tile(self.deep_alone, (len(queries), 1)), alone)
        if combined.of_queries is None:
            return fit
        all_weights = np.vstack([combined.weights, combined.of_queries])
        if not linear:
            all_weights = np.insert(all_weights, [1] * self.num_lives, 0.0, axis=1)
        fitted = _Fit(True, all_weights[0], all_weights[1:], alone)
        before, after = (self.measure(queries, own.of_queries, metric) for own in (fit, fitted))
        return fitted if after >= before else fit

    def measure(self, queries: QuerySet, weights: NDArray[np.floating], metric: str) -> float:
        """The mean metric of `rank`."""
        ranked = self.rank(queries, weights, parse_metric(metric)[1])
        return float(per_query(metric, judge(ranked, queries.truth)).mean())


@dataclass(frozen=True)
class _Fit:
    used: bool
    """False where the deep part alone is as good."""
    weights: NDArray[np.float64]
    of_queries: NDArray[np.float64]
    """`[num_queries, num_weights]`, fitted on other queries."""
    alone: float
    """The best factor of the deep part alone, which gives the weights their unit."""

    def in_unit(self, unit: float) -> NDArray[np.float64]:
        return self.weights / unit if self.used else self.weights


def fit_weights(
    towers: Towers,
    tables: WideTables,
    spec: FeatureSpec,
    queries: QuerySet,
    corpus_tokens: Tokens,
    metric: str,
    further_metrics: Sequence[str],
    longest: int,
) -> WideWeights | None:
    """Fits the weights on validation queries; None if the deep part alone is as good.

    Known queries and new ones have weights of their own. Where the validation has too few new
    queries, the others stand for them, with their histories and ids taken away.

    Args:
        towers: those of the first fit, which have not learned the queries.
        tables: of the same window.
        spec: the feature spec.
        queries: the validation queries, with tokens as inputs.
        corpus_tokens: `[num_candidates, ...]` by name.
        metric: may not fall out of fold, or the weights are not used; their ndcg@100 has to rise
            by more than a standard error.
        further_metrics: are measured as well, and decide nothing.
        longest: largest length of the recall that is measured.
    """
    parts = _Parts(towers, tables, spec, corpus_tokens)
    tensors = {name: tf.constant(values) for name, values in queries.inputs.items()}
    known = wide.known_queries(tensors, wide.identifying_features(spec)).numpy()
    known_places, new_places = np.flatnonzero(known), np.flatnonzero(~known)
    alone = np.tile(parts.deep_alone, (len(queries), 1))
    of_queries = alone.copy()
    of_known = None
    if len(known_places):
        own = queries.take(known_places)
        of_known = parts.fit(own, metric, linear=parts.num_lives > 0)
        of_queries[known_places] = of_known.of_queries
    if len(new_places) >= _ENOUGH_NEW or of_known is None:
        of_new = parts.fit(queries.take(new_places), metric, linear=False)
        of_queries[new_places] = of_new.of_queries
    else:
        stripped = _without_identity(queries.take(known_places), spec)
        of_new = parts.fit(stripped, metric, linear=False)
        of_queries[new_places] = of_new.weights
    if not (of_new.used or (of_known is not None and of_known.used)):
        return None
    # The deep part of a known query keeps about its own length.
    unit = (of_known or of_new).alone or 1.0
    weights = np.stack([one.in_unit(unit) for one in (of_known or of_new, of_new)])
    has_linear = bool(np.any(weights[:, 1 : 1 + parts.num_lives]))
    ranked = parts.rank(queries, of_queries, min(longest, len(parts.corpus)))
    return WideWeights(
        weights,
        has_linear,
        _linear_scale(parts, weights, queries) if has_linear else 1.0,
        _count_scales(parts, weights),
        metric,
        parts.measure(queries, alone, metric),
        {name: parts.measure(queries, of_queries, name) for name in (metric, *further_metrics)},
        tuple(recall_by_length(ranked, queries)),
        len(queries),
    )


def describe(
    weights: WideWeights | None, tables: WideTables, embedding_dim: int, metric: str
) -> tuple[dict[str, Any], str]:
    """What the fit came to, for the manifest and in a sentence."""
    if weights is None:
        sentence = (
            f"model.wide is left out: out of fold it does not raise ndcg@{_DEPTH} of validation "
            f"queries by more than a standard error without lowering {metric}"
        )
        return {"used": False}, sentence
    shape = weights.part(tables).shape
    facts = {
        "used": True,
        "dimensions": embedding_dim + shape.dim,
        "rank": shape.rank,
        "num_counts": shape.num_counts,
        "known_queries": np.round(weights.weights[wide.KNOWN], 6).tolist(),
        "new_queries": np.round(weights.weights[wide.NEW], 6).tolist(),
        f"{weights.metric}_before": round(weights.before, 6),
    }
    facts |= {f"{name}_out_of_fold": round(value, 6) for name, value in weights.after.items()}
    after = weights.after[weights.metric]
    sentence = (
        f"model.wide: {weights.metric} {weights.before:.4f} -> {after:.4f} out of fold on "
        f"{weights.num_queries:,} validation queries; vectors of {embedding_dim} + {shape.rank} "
        f"(linear) + {shape.num_counts} (popularity) = {embedding_dim + shape.dim} numbers"
    )
    return facts, sentence


def _linear_scale(parts: _Parts, weights: NDArray[np.float64], queries: QuerySet) -> float:
    of_lives = weights[wide.KNOWN, 1 : 1 + parts.num_lives]
    sums = np.einsum("h,qhr->qr", of_lives, parts.of_queries(queries.inputs)[1])
    return _balance(np.square(sums).sum(axis=1), np.square(parts.linear).sum(axis=1))


def _count_scales(parts: _Parts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    of_counts = np.abs(weights[:, 1 + parts.num_lives :]).max(axis=0)
    pairs = zip(of_counts, parts.counts.T, strict=True)
    return np.array([_balance(np.square([own]), np.square(column)) for own, column in pairs])


def _balance(queries: NDArray[np.floating], candidates: NDArray[np.floating]) -> float:
    """The factor of the candidates' side that makes both sides' mean squares equal."""
    sides = float(queries.mean()), float(candidates.mean())
    return (sides[0] / sides[1]) ** 0.25 if min(sides) > 0 else 1.0


def _without_identity(queries: QuerySet, spec: FeatureSpec) -> QuerySet:
    """The same queries as a server would know them at their first visit."""
    tokens = dict(queries.inputs)
    histories = {feature.name for feature in spec.histories}
    for name in wide.identifying_features(spec):
        row = PADDING_ROW if name in histories else UNKNOWN_ROW
        tokens[name] = np.full_like(tokens[name], row)
    return replace(queries, inputs=tokens)


def _union(lists: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The rows of all lists of a query, each once, as many places as the longest union needs."""
    rows = np.sort(np.concatenate(lists, axis=1), axis=1)
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
    rows = -np.sort(-rows, axis=1)
    return rows[:, : max(1, int((rows >= 0).sum(axis=1).max()))]
