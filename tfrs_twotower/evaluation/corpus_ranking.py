"""Ranks the full corpus for every query, in one stage or two, in bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation import partial_rankings
from tfrs_twotower.evaluation.evaluated_data import SecondStage
from tfrs_twotower.metrics import judge, recall
from tfrs_twotower.ranking import order
from tfrs_twotower.ranking.order import re_rank, top_k_rows

CHUNK_BYTES = 16 << 20
"""Scores that are held at once. The allocator hands blocks of this size out again; larger ones come
as fresh pages every time, which costs more than to rank them."""


class Scorer(Protocol):
    """Scores all candidates for some queries of one query set."""

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]`, for queries given by position.

        The array is the caller's: it may be written over.
        """


@runtime_checkable
class PooledScorer(Protocol):
    """A first stage of several parts, each of which proposes candidates for the list."""

    def pooled(
        self,
        queries: NDArray[np.int64],
        mask: Callable[[NDArray[np.floating]], NDArray[np.floating]],
        depth: int,
    ) -> NDArray[np.floating]:
        """Scores `[len(queries), num_candidates]`, -inf where nothing proposes the candidate.

        Args:
            queries: positions.
            mask: writes -inf at what may not be ranked.
            depth: length of the list.
        """


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # looks for the libraries, which takes as long as a product


def one_thread() -> AbstractContextManager[object]:
    """Keeps a product of one chunk on one thread: BLAS's threads would wait busily for it."""
    limited: AbstractContextManager[object] = _thread_pools().limit(limits=1, user_api="blas")
    return limited


def chunks_of(num_queries: int, num_candidates: int) -> list[NDArray[np.int64]]:
    """Positions of the queries in chunks whose scores fill 16 MB as float32."""
    size = max(1, CHUNK_BYTES // (4 * max(num_candidates, 1)))
    return [
        np.arange(start, min(start + size, num_queries), dtype=np.int64)
        for start in range(0, num_queries, size)
    ]


def mask_scores(
    scores: NDArray[np.floating],
    queries: NDArray[np.int64],
    query_set: QuerySet,
    eligible: NDArray[np.bool_],
) -> NDArray[np.floating]:
    """Writes -inf at seen candidates and at candidates that are not eligible; the same array."""
    scores[:, ~eligible] = -np.inf
    seen = query_set.seen.take(queries)
    scores[seen.owners, seen.values] = -np.inf
    return scores


def rank_corpus(
    scorer: Scorer | PooledScorer, query_set: QuerySet, eligible: NDArray[np.bool_], k: int
) -> NDArray[np.int64]:
    """The first k candidates of each query: score descending, then row ascending.

    Args:
        scorer: scores the whole corpus for a chunk of queries.
        query_set: the queries; their seen candidates are left out.
        eligible: `[num_candidates]` whether the candidate may be ranked.
        k: length of the lists.

    Returns:
        `[num_queries, k]` rows, -1 where a list is shorter.
    """
    if isinstance(scorer, SameForAll):
        return _rank_once(scorer.scores, query_set, eligible, k)
    if isinstance(scorer, partial_rankings.SparseScorer):
        return partial_rankings.rank_sparse(scorer, query_set, eligible, k)
    ranked = np.full((len(query_set), k), -1, np.int64)
    for queries, rows, _ in ranked_chunks(scorer, query_set, eligible, k):
        ranked[queries] = rows
    return ranked


def ranked_chunks(
    scorer: Scorer | PooledScorer, query_set: QuerySet, eligible: NDArray[np.bool_], k: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating]]]:
    """The rankings of `rank_corpus` with their scores, some queries at a time.

    Yields:
        Positions `[chunk]` of the queries, rows `[chunk, k]`, and scores `[chunk, k]`, -inf where
        the row is -1.
    """
    if len(eligible) > order.MOST_AT_ONCE and isinstance(scorer, partial_rankings.BlockScorer):
        yield from partial_rankings.ranked_in_blocks(scorer, query_set, eligible, k)
        return
    for queries in chunks_of(len(query_set), len(eligible)):
        mask = partial(mask_scores, queries=queries, query_set=query_set, eligible=eligible)
        if isinstance(scorer, PooledScorer):
            scores = scorer.pooled(queries, mask, k)
        else:
            scores = mask(scorer(queries))
        rows = top_k_rows(scores, k)
        best = np.take_along_axis(scores, np.maximum(rows, 0), axis=1)
        yield queries, rows, np.where(rows >= 0, best, -np.inf).astype(scores.dtype)


class SameForAll:
    """A scorer that does not look at the query, such as popularity.

    Attributes:
        scores: `[num_candidates]`.
    """

    def __init__(self, scores: NDArray[np.floating]) -> None:
        self.scores = scores

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]`."""
        return np.tile(self.scores, (len(queries), 1))


def _rank_once(
    scores: NDArray[np.floating], query_set: QuerySet, eligible: NDArray[np.bool_], k: int
) -> NDArray[np.int64]:
    """The lists of one ranking without each query's seen candidates."""
    most_seen = int(query_set.seen.lengths.max(initial=0))
    once = np.where(eligible, scores, -np.inf)[None, :]
    first = top_k_rows(once, k + most_seen)[0]
    place = np.full(len(scores), -1, np.int64)
    place[first[first >= 0]] = np.flatnonzero(first >= 0)
    ranked = np.empty((len(query_set), k), np.int64)
    for queries in chunks_of(len(query_set), len(first)):
        seen = query_set.seen.take(queries)
        kept = np.ones((len(queries), len(first)), bool)
        inside = place[seen.values] >= 0
        kept[seen.owners[inside], place[seen.values[inside]]] = False
        # The first k that are kept, in their order.
        order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
        ranked[queries] = first[order]
    return ranked


class EmbeddingScorer:
    """The dot product of two towers' embeddings."""

    def __init__(
        self, query_embeddings: NDArray[np.float32], candidate_embeddings: NDArray[np.float32]
    ) -> None:
        self._queries = query_embeddings
        self._candidates = candidate_embeddings

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]` float32."""
        with one_thread():
            return self._queries[queries] @ self._candidates.T

    def block(self, queries: NDArray[np.int64], start: int, stop: int) -> NDArray[np.floating]:
        """See `BlockScorer.block`."""
        with one_thread():
            return self._queries[queries] @ self._candidates[start:stop].T

    def lowest(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """`[len(queries), 1]` no inner product is below it; -1 for unit vectors."""
        lengths = np.linalg.norm(self._queries[queries], axis=1, keepdims=True)
        return -lengths * np.linalg.norm(self._candidates, axis=1).max()


class CascadeRanking(NamedTuple):
    """The lists of each stage of the cascade.

    Attributes:
        retrieved: `[num_queries, k]` rows of retrieval, best first, -1 at missing ranks.
        ranked: `[num_queries, k]` rows that are served, in the same form.
        pool_recall: `[num_queries]` recall of the pool that the second stage scores again; None
            without a second stage.
        served: `[num_queries, k]` rows that are served if no candidate is left out for not being
            eligible; None if all are.
    """

    retrieved: NDArray[np.int64]
    ranked: NDArray[np.int64]
    pool_recall: NDArray[np.float64] | None
    served: NDArray[np.int64] | None


def rank_cascade(
    scorer: Scorer | PooledScorer,
    query_set: QuerySet,
    eligible: NDArray[np.bool_],
    second_stage: SecondStage | None,
    k: int,
) -> CascadeRanking:
    """The first k candidates of each query after each stage.

    Retrieval is exact and leaves out what `rank_corpus` leaves out. The second stage scores its
    first `num_candidates` again and orders them by that score.

    Args:
        scorer: scorer of the retrieval stage.
        query_set: the queries.
        eligible: `[num_candidates]` whether the candidate may be ranked.
        second_stage: the pre-ranker; None serves retrieval's lists.
        k: length of the lists; if it exceeds the pool, the second stage's lists end in -1.
    """
    served = None
    if not eligible.all():
        every = np.ones(len(eligible), bool)
        served = rank_cascade(scorer, query_set, every, second_stage, k).ranked
    if second_stage is None:
        retrieved = rank_corpus(scorer, query_set, eligible, k)
        return CascadeRanking(retrieved, retrieved, None, served)
    return rank_again(scorer, query_set, eligible, second_stage, k)._replace(served=served)


def rank_again(
    scorer: Scorer | PooledScorer,
    query_set: QuerySet,
    eligible: NDArray[np.bool_],
    second_stage: SecondStage,
    k: int,
) -> CascadeRanking:
    """The lists of `rank_cascade` for a second stage, without `served`."""
    size = second_stage.num_candidates
    retrieved, ranked = (np.full((len(query_set), k), -1, np.int64) for _ in range(2))
    pool_recall = np.zeros(len(query_set))
    for queries, rows, scores in ranked_chunks(scorer, query_set, eligible, max(k, size)):
        pool = rows[:, :size]
        final = second_stage.re_score(queries, pool, scores[:, :size])
        retrieved[queries] = rows[:, :k]
        ranked[queries, :size] = re_rank(pool, final)[:, :k]
        pool_recall[queries] = recall(judge(pool, query_set.truth.take(queries)), size)
    return CascadeRanking(retrieved, ranked, pool_recall, None)
