"""Retrieval and what ranks after it, in bounded memory."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.inputs import QuerySet, SecondStage
from tfrs_twotower.evaluation.ranking import Scorer, rank_corpus, ranked_chunks
from tfrs_twotower.metrics import judge, recall
from tfrs_twotower.ranking.order import re_rank


class Cascade(NamedTuple):
    """What each stage returns.

    Attributes:
        retrieved: `[num_queries, k]` rows of retrieval, best first, -1 where there is none.
        ranked: `[num_queries, k]` rows of what is served, in the same form.
        held: `[num_queries]` share of the relevant candidates among those that the second stage
            orders again; None without one.
    """

    retrieved: NDArray[np.int64]
    ranked: NDArray[np.int64]
    held: NDArray[np.float64] | None


def rank_cascade(
    scorer: Scorer,
    query_set: QuerySet,
    eligible: NDArray[np.bool_],
    second_stage: SecondStage | None,
    k: int,
) -> Cascade:
    """The first k candidates of each query after each stage.

    Exact retrieval, its seen candidates and those that may not be ranked left out; the first
    `num_candidates` are scored again and ordered by that.

    Args:
        scorer: of the retrieval stage.
        query_set: the queries.
        eligible: `[num_candidates]` what may be ranked.
        second_stage: the pre-ranker; None serves what retrieval returns.
        k: length of the lists; longer than the pool, they end in -1.
    """
    if second_stage is None:
        retrieved = rank_corpus(scorer, query_set, eligible, k)
        return Cascade(retrieved, retrieved, None)
    size = second_stage.num_candidates
    retrieved, ranked = (np.full((len(query_set), k), -1, np.int64) for _ in range(2))
    held = np.zeros(len(query_set))
    for queries, rows, scores in ranked_chunks(scorer, query_set, eligible, max(k, size)):
        pool = rows[:, :size]
        final = second_stage.re_score(queries, pool, scores[:, :size])
        retrieved[queries] = rows[:, :k]
        ranked[queries, :size] = re_rank(pool, final)[:, :k]
        held[queries] = recall(judge(pool, query_set.truth.take(queries)), size)
    return Cascade(retrieved, ranked, held)
