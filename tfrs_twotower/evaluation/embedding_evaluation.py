"""Evaluates embeddings alone: exact ranking of the whole corpus, metrics with intervals.

For vectors of any origin. The evaluation of a run, with baselines, slices and a leakage check, is
in the other modules of this room.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation import corpus_ranking, evaluation_document, systems
from tfrs_twotower.metrics import RANKING_METRICS
from tfrs_twotower.ranking import GroundTruth, Ragged

Rows = Sequence[Sequence[int]] | Sequence[NDArray[np.integer]]


def evaluate(
    query_embeddings: ArrayLike,
    candidate_embeddings: ArrayLike,
    relevant: Rows,
    *,
    seen: Rows | None = None,
    ks: Sequence[int] = (10, 20, 100),
    num_bootstrap: int = 2000,
    seed: int = 0,
) -> evaluation_document.Metrics:
    """Ranks the whole corpus for each query by inner product, and measures the rankings.

    Ties are broken by the lower row. A query without a relevant candidate is left out.

    Args:
        query_embeddings: `[num_queries, embedding_dim]`.
        candidate_embeddings: `[num_candidates, embedding_dim]`; the position is the row.
        relevant: rows of each query's relevant candidates, none twice.
        seen: rows that each query's ranking leaves out, such as those it was trained on.
        ks: list lengths.
        num_bootstrap: number of resamples of the intervals.
        seed: seed of the resamples.

    Returns:
        `recall@K`, `hit_rate@K`, `precision@K`, `ndcg@K`, `mrr@K` and `map@K` for each K, defined
        as in `tfrs_twotower.metrics`: each a mean with its 95 % interval (percentile bootstrap over
        queries, Efron 1979) and the number of queries.

    Raises:
        ValueError: shapes or rows do not fit together, a number is not finite, or no query has a
            relevant candidate.
    """
    queries = _matrix(query_embeddings, "query_embeddings")
    candidates = _matrix(candidate_embeddings, "candidate_embeddings")
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"query_embeddings has {queries.shape[1]} columns and candidate_embeddings "
            f"{candidates.shape[1]}; both are vectors of one space"
        )
    wanted = _rows(relevant, "relevant", len(queries), len(candidates))
    nothing: Rows = [[]] * len(queries)
    left_out = _rows(nothing if seen is None else seen, "seen", len(queries), len(candidates))
    kept = np.flatnonzero(wanted.lengths)
    if not len(kept):
        raise ValueError("relevant is empty for every query; there is nothing to measure")
    query_set = QuerySet(
        GroundTruth(wanted, np.ones(len(wanted.values))), left_out, embeddings=queries
    ).take(kept)
    scorer = corpus_ranking.EmbeddingScorer(query_set.embeddings, candidates)
    ranked = corpus_ranking.rank_corpus(scorer, query_set, np.ones(len(candidates), bool), max(ks))
    names = tuple(f"{metric}@{k}" for k in ks for metric in RANKING_METRICS)
    run = systems.SystemRun("retrieval", systems.Ranking.of(ranked, query_set.truth))
    return systems.figures_of([run], names, num_bootstrap, seed)[0]


def _matrix(values: ArrayLike, name: str) -> NDArray[np.float32]:
    matrix = np.asarray(values, np.float32)
    if matrix.ndim != 2 or not len(matrix):
        raise ValueError(f"{name} has shape {matrix.shape}; expected [one or more, embedding_dim]")
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise ValueError(f"{name} is not finite in row {row}; every number must be")
    return matrix


def _rows(lists: Rows, name: str, num_queries: int, num_candidates: int) -> Ragged:
    if len(lists) != num_queries:
        raise ValueError(f"{name} has {len(lists)} lists for {num_queries} queries; give one each")
    rows = Ragged.from_lists(lists)
    outside = rows.values[(rows.values < 0) | (rows.values >= num_candidates)]
    if len(outside):
        raise ValueError(
            f"{name} holds row {int(outside[0])}; rows of {num_candidates} candidates are 0 to "
            f"{num_candidates - 1}"
        )
    return rows
