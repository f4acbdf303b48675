"""The pools of the validation queries, on which the cascade is fitted and measured out of fold."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.index.first_lists import WordLists
from tfrs_twotower.metrics import judge, parse_metric, per_query
from tfrs_twotower.ranking.order import re_rank
from tfrs_twotower.towers.item_knn_member import ItemKnnMember
from tfrs_twotower.towers.lexical_member import LexicalMember
from tfrs_twotower.towers.linear_member import LinearMember
from tfrs_twotower.towers.taste_member import TasteMember
from tfrs_twotower.towers.tower import Tower, Towers
from tfrs_twotower.training import combination, discounting
from tfrs_twotower.training.validation import in_chunks, rank, recall_by_length, relevant_places

_PAIRS_AT_ONCE = 16_384
_MEMBER_PENALTY = 1e-2
_MEMBER_FOLDS = 5


class Pools:
    """The retrieved candidates of each validation query, and their features.

    The retrieval towers must not have learned from these queries, because their scores of relevant
    candidates would then be higher here than in service.
    """

    def __init__(
        self,
        retrieval: Towers,
        corpus_tokens: dict[str, tf.Tensor],
        queries: QuerySet,
        *,
        num_candidates: int,
        signals: NDArray[np.float32],
        linear: LinearMember | None = None,
        tastes: TasteMember | None = None,
        item_knn: ItemKnnMember | None = None,
        lexical: LexicalMember | None = None,
        words: Lexical | None = None,
    ) -> None:
        """Retrieves the pools once.

        Args:
            retrieval: towers of the first stage.
            corpus_tokens: `[corpus size, ...]` by name.
            queries: the validation queries, with tokens as inputs.
            num_candidates: size of a pool.
            signals: `[corpus size, num_signals]`.
            linear: EASE, if it is a member; fitted, like the towers, in the first fit.
            tastes: the values that histories prefer, if they are a member; of the same window.
            item_knn: the neighbours, if they are a member; of the same window.
            lexical: BM25, if it is a member.
            words: what retrieval searches words with, if it does.
        """
        self.corpus_tokens = corpus_tokens
        self.queries = queries
        embedded = in_chunks(retrieval.query.embed_tokens, queries.inputs)
        corpus = in_chunks(retrieval.candidate.embed_tokens, corpus_tokens)
        if words is None:
            self.rows = rank(embedded, corpus, queries, num_candidates)
        else:
            lists = WordLists(words, corpus, num_candidates, queries.rankable)
            found = lists.find(embedded, queries.texts or (), queries.seen)
            self.rows = found.rows.astype(np.int64)
        self.present = self.rows >= 0
        self.valid_rows = np.maximum(self.rows, 0)
        if words is None:
            pairs = zip(self.valid_rows, embedded, strict=True)
            self._retrieval = np.stack([corpus[rows] @ vector for rows, vector in pairs])
        else:
            self._retrieval = found.scores
        scores = [
            self._closed_form_scores(member, in_chunks(member.encode, queries.inputs))
            for member in (linear, tastes, item_knn)
            if member is not None
        ]
        if lexical is not None:
            terms = lexical.encode(queries.inputs, queries.texts).numpy()
            scores.append(self._closed_form_scores(lexical, terms))
        self._fixed = np.concatenate([*scores, signals[self.valid_rows]], axis=2)
        self._relevant = relevant_places(self.rows, queries)

    def combine(
        self, interactions: Sequence[NDArray[np.floating]], metric: str
    ) -> combination.Combined:
        """Fits the weights of the features, see `combination.combine` and `discounting.refine`.

        The features are the retrieval score, the interactions `[num_queries, pool]` of the trained
        members, the scores of those in closed form, and the signals.

        Args:
            interactions: of each trained member.
            metric: decides whether the combination is used; a metric that does not depend on the
                order of the pools is replaced by their nDCG.
        """
        size = self.rows.shape[1]
        if parse_metric(metric)[1] >= size:
            metric = f"ndcg@{size}"
        lists = (self._features(interactions), self._relevant, self.present)
        measure = partial(self._per_query, metric)
        return discounting.refine(combination.combine(*lists, measure), *lists, measure)

    def out_of_fold(self, metric: str, interactions: Sequence[NDArray[np.floating]]) -> float:
        """Returns the mean metric with weights that are fitted on the other folds.

        No choice is made, so that figures of one training can be compared.
        """
        lists = combination.Lists.of(self._features(interactions), self._relevant, self.present)
        folds = combination.folds_of(lists.usable, _MEMBER_FOLDS)
        if folds.max(initial=0) == 0:
            return self.retrieval_alone(metric)
        scores, _ = combination.cross_fitted(lists, _MEMBER_PENALTY, folds)
        return float(self._per_query(metric, scores).mean())

    def measure(self, metric: str, combined: combination.Combined) -> float:
        """Returns the mean metric of the cascade, each query ordered by weights of other folds."""
        if combined.out_of_fold is None:
            return self.retrieval_alone(metric)
        return float(self._per_query(metric, combined.out_of_fold).mean())

    def retrieval_alone(self, metric: str) -> float:
        """Returns the mean metric of the pools in the order of retrieval."""
        return float(per_query(metric, judge(self.rows, self.queries.truth)).mean())

    def recall_by_length(self, combined: combination.Combined) -> list[float]:
        """Returns the cascade's recall@1, recall@2 and so on, out of fold like `measure`."""
        rows = self.rows
        if combined.out_of_fold is not None:
            rows = re_rank(rows, combined.out_of_fold)
        return recall_by_length(rows, self.queries)

    def _per_query(self, metric: str, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        ranked = re_rank(self.rows, scores)
        return np.asarray(per_query(metric, judge(ranked, self.queries.truth)))

    def _features(self, interactions: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
        parts = [self._retrieval[..., None], *(part[..., None] for part in interactions)]
        return np.concatenate([*parts, self._fixed], axis=2).astype(np.float64)

    def _closed_form_scores(
        self,
        member: LinearMember | TasteMember | ItemKnnMember | LexicalMember,
        heads: NDArray[np.generic],
    ) -> NDArray[np.float32]:
        """`[num_queries, pool, num_features]` of a member, from the query side of its scores."""
        size = max(1, _PAIRS_AT_ONCE // self.rows.shape[1])
        scores = [
            member.scores(
                tf.constant(heads[start : start + size]),
                tf.constant(self.valid_rows[start : start + size]),
            ).numpy()
            for start in range(0, len(heads), size)
        ]
        return np.concatenate(scores).transpose(0, 2, 1)


class MemberValidator:
    """Measures the cascade with one member; each measurement fits the weighted sum out of fold."""

    def __init__(self, towers: Towers, pools: Pools, metric: str) -> None:
        """Prepares the measurement of a member's towers, which have heads."""
        self._scorer = towers.scorer
        self._pools = pools
        self._metric = metric
        self._query_heads = _heads_of(towers.query, pools.queries.inputs)
        self._candidate_heads = _heads_of(towers.candidate, pools.corpus_tokens)

    def measure(self) -> dict[str, float]:
        """Returns the metric by its name."""
        return {self._metric: self._pools.out_of_fold(self._metric, [self.interaction()])}

    def interaction(self) -> NDArray[np.float32]:
        """Returns `[num_queries, pool]` pair scores with the current weights."""
        pools = self._pools
        queries = in_chunks(self._query_heads, pools.queries.inputs)
        candidates = in_chunks(self._candidate_heads, pools.corpus_tokens)
        size = max(1, _PAIRS_AT_ONCE // pools.rows.shape[1])
        return np.concatenate(
            [
                self._scorer(
                    tf.constant(queries[start : start + size]),
                    tf.constant(candidates[pools.valid_rows[start : start + size]]),
                ).numpy()
                for start in range(0, len(queries), size)
            ]
        )


def _heads_of(tower: Tower, tokens: Mapping[str, Any]) -> tf.types.experimental.PolymorphicFunction:
    signature = {
        name: tf.TensorSpec([None, *values.shape[1:]], values.dtype)
        for name, values in tokens.items()
    }
    return tf.function(
        lambda tokens: tower.encode(tokens, training=False).heads,
        autograph=False,
        input_signature=[signature],
    )
