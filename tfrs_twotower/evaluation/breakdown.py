"""Details behind the means: slices of the test, stages of serving, shape of the embeddings."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation import evaluated_data, evaluation_document, resampling, systems
from tfrs_twotower.metrics import Judged, embedding_space, recall
from tfrs_twotower.ranking import GroundTruth
from tfrs_twotower.specs import TRAIN

HEAD_FRACTION = 0.8
_HISTORY_BUCKETS = ((0, 0), (1, 5), (6, 20), (21, 50), (51, 200), (201, None))
_SAMPLE = 2_000


@dataclass(frozen=True)
class Slice:
    """Some relevant candidates of some queries.

    Attributes:
        name: key in the report.
        title: description in words.
        keep: `[num_relevant_pairs]` whether a pair of the ground truth belongs to it.
    """

    name: str
    title: str
    keep: NDArray[np.bool_]


def head_candidates(count: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`[num_candidates]`: the fewest candidates that hold 80 % of the training interactions.

    Ties go to the lower row.
    """
    order = np.argsort(-count, kind="stable")
    before = np.cumsum(count[order]) - count[order]
    head = np.zeros(len(count), bool)
    head[order] = (before < HEAD_FRACTION * count.sum()) & (count[order] > 0)
    return head


def make_slices(inputs: evaluated_data.EvaluationInputs) -> list[Slice]:
    """The slices of this data that hold at least one relevant pair."""
    truth = inputs.test.truth.relevant
    owners, rows = truth.owners, truth.values
    head = head_candidates(inputs.counts)[rows]
    new = inputs.counts[rows] == 0
    trained = np.zeros(max(len(inputs.log.query_ids), 1), bool)
    trained[inputs.log.query[inputs.log.split == TRAIN]] = True
    codes = inputs.log.codes_of(inputs.test.ids)
    warm = (codes >= 0) & trained[np.maximum(codes, 0)]
    slices = [
        Slice("candidates_head", "candidates of the head (80 % of training)", head),
        Slice("candidates_tail", "candidates of the tail", ~head & ~new),
        Slice("candidates_new", "candidates new since training", new),
        Slice("queries_warm", "queries known from training", warm[owners]),
        Slice("queries_cold", "queries new since training", ~warm[owners]),
    ]
    events = inputs.test.num_events
    for low, high in _HISTORY_BUCKETS:
        inside = (events >= low) & (events <= (high if high is not None else events))
        span = str(low) if low == high else f"{low}-{high}" if high is not None else f"{low}+"
        title = f"{span.replace('-', ' to ')} earlier events"
        slices.append(Slice(f"history_{span}", title, inside[owners]))
    return [part for part in slices if part.keep.any()]


def slice_figures(
    runs: Sequence[systems.SystemRun],
    inputs: evaluated_data.EvaluationInputs,
    slices: list[Slice],
    metrics: tuple[str, ...],
    *,
    num_bootstrap: int,
    seed: int,
) -> list[dict[str, evaluation_document.SliceFigures]]:
    """Metrics of each system in each slice, with the number of queries and relevant pairs.

    A slice of candidates keeps the full ranking and restricts what counts as relevant.
    """
    figures: list[dict[str, evaluation_document.SliceFigures]] = [{} for _ in runs]
    for part in slices:
        kept = systems.Part.of(inputs.test.truth, part.keep)
        parts = [run.take(kept) for run in runs]
        measured = systems.figures_of(parts, metrics, num_bootstrap, seed)
        for own, metrics_of_part in zip(figures, measured, strict=True):
            own[part.name] = evaluation_document.SliceFigures(
                title=part.title,
                queries=len(kept.queries),
                relevant=int(part.keep.sum()),
                metrics=metrics_of_part,
            )
    return figures


def describe_pool(
    pool_recall: NDArray[np.float64],
    truth: GroundTruth,
    second_stage: evaluated_data.SecondStage,
    stages: dict[str, Judged],
    ks: tuple[int, ...],
    num_bootstrap: int,
    seed: int,
) -> evaluation_document.Pool:
    """Describes the pool that retrieval passes to the second stage, and what each stage keeps.

    Args:
        pool_recall: `[num_queries]` recall of the pool.
        truth: the relevant candidates of the same queries.
        second_stage: the pre-ranker, which scores the pool again.
        stages: judged rankings of `retrieval` and `cascade`.
        ks: list lengths; those that hold the whole pool are left out.
        num_bootstrap: number of resamples of the intervals.
        seed: seed of the resamples.

    Returns:
        The pool, with `kept@K` of each stage so that its recall@K = recall of the pool x kept@K.
    """
    size = second_stage.num_candidates
    ceiling = resampling.mean_intervals(pool_recall[:, None], num_bootstrap, seed)[:, 0]
    kept: dict[str, evaluation_document.Metrics] = {name: {} for name in stages}
    for name, judged in stages.items():
        for k in (k for k in ks if k < size and pool_recall.any()):
            recalls = recall(judged, k)
            interval = resampling.ratio_interval(recalls, pool_recall, num_bootstrap, seed)
            fraction = recalls.mean() / pool_recall.mean()
            kept[name][f"kept@{k}"] = systems.figure(fraction, interval, len(pool_recall))
    best = systems.SystemRun("best", best_order(pool_recall, truth, max(ks)))
    names = systems.key_metrics(ks)
    return evaluation_document.Pool(
        num_candidates=size,
        recall=systems.figure(pool_recall.mean(), ceiling, len(pool_recall)),
        weights=second_stage.weights,
        kept=kept,
        best=dict(systems.figures_of([best], names, num_bootstrap, seed)[0]),
    )


def best_order(pool_recall: NDArray[np.float64], truth: GroundTruth, k: int) -> systems.Ranking:
    """Lists that no order of the pools exceeds: as many relevant candidates as they hold, first.

    Which ones they hold does not matter where all count alike; otherwise those that count most are
    taken, so that the lists are a bound.

    Args:
        pool_recall: `[num_queries]` recall of the pool.
        truth: the relevant candidates.
        k: length of the lists.
    """
    relevant = truth.relevant
    found = np.minimum(np.rint(pool_recall * relevant.lengths).astype(np.int64), k)
    ranked = np.full((len(found), k), -1, np.int64)
    for query, (start, end) in enumerate(itertools.pairwise(relevant.offsets)):
        first = np.argsort(-truth.gains[start:end], kind="stable")[: found[query]]
        ranked[query, : len(first)] = relevant.values[start:end][first]
    return systems.Ranking.of(ranked, truth)


def describe_unranked(
    served: NDArray[np.int64] | None,
    eligible: NDArray[np.bool_],
    stage: Literal["retrieval", "cascade"],
    ks: tuple[int, ...],
) -> evaluation_document.Unranked | None:
    """How much of the served lists goes to candidates that the figures leave out.

    Args:
        served: `[num_queries, K]` rows, -1 at missing ranks; None if every candidate is ranked.
        eligible: `[num_candidates]` whether it is ranked.
        stage: the stage whose lists they are.
        ks: list lengths.
    """
    if served is None:
        return None
    shown = served >= 0
    left_out = shown & ~eligible[np.maximum(served, 0)]
    return evaluation_document.Unranked(
        candidates=int((~eligible).sum()),
        stage=stage,
        taken={f"taken@{k}": float(left_out[:, :k].sum() / max(shown[:, :k].sum(), 1)) for k in ks},
    )


def describe_embeddings(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    truth: GroundTruth,
    ranked: NDArray[np.int64],
    *,
    k: int,
    seed: int,
) -> evaluation_document.EmbeddingSpace:
    """Measures the shape of both sides' embeddings, on at most 2,000 vectors of each.

    Their directions are measured: vectors of other lengths, as `model.wide` makes them, count as
    if they were unit vectors.

    Args:
        queries: `[num_queries, embedding_dim]`.
        candidates: `[num_candidates, embedding_dim]`.
        truth: relevant candidates of the queries.
        ranked: `[num_queries, K]` retrieval's lists.
        k: list length of hubness.
        seed: seed of the samples.
    """
    queries, candidates = _directions(queries), _directions(candidates)
    generator = np.random.default_rng(seed)
    pairs = sample(len(truth.gains), _SAMPLE, generator)
    owners, rows = truth.relevant.owners[pairs], truth.relevant.values[pairs]
    query_part = queries[sample(len(queries), _SAMPLE, generator)]
    candidate_part = candidates[sample(len(candidates), _SAMPLE, generator)]
    gap = query_part.mean(axis=0, dtype=np.float64) - candidate_part.mean(axis=0, dtype=np.float64)
    cosines = (queries[owners] * candidates[rows]).sum(axis=1)
    return evaluation_document.EmbeddingSpace(
        embedding_dim=candidates.shape[1],
        alignment=embedding_space.alignment(queries[owners], candidates[rows])
        if len(pairs)
        else None,
        positive_cosine=float(cosines.mean()) if len(pairs) else None,
        centroid_distance=float(np.linalg.norm(gap)),
        hubness_k=k,
        hubness_skewness=embedding_space.hubness(ranked, k, len(candidates)),
        ideal_uniformity=embedding_space.ideal_uniformity(candidates.shape[1]),
        queries=_cloud(query_part),
        candidates=_cloud(candidate_part),
    )


def _directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), np.float32)


def sample(population: int, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Sorted positions of a random sample; all positions if there are at most `size`."""
    if population <= size:
        return np.arange(population, dtype=np.int64)
    return np.sort(generator.choice(population, size, replace=False)).astype(np.int64)


def _cloud(vectors: NDArray[np.float32]) -> evaluation_document.Cloud:
    several = len(vectors) > 1
    return evaluation_document.Cloud(
        vectors=len(vectors),
        uniformity=embedding_space.uniformity(vectors) if several else None,
        mean_cosine=embedding_space.mean_cosine(vectors) if several else None,
        effective_rank=embedding_space.effective_rank(vectors),
        mean_vector_norm=float(np.linalg.norm(vectors.mean(axis=0, dtype=np.float64))),
    )
