"""Evaluated systems: their names, their rankings, their figures, and comparisons of two of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation import evaluated_data, evaluation_document, resampling
from tfrs_twotower.metrics import (
    RANKING_METRICS,
    Judged,
    coverage,
    judge_places,
    per_query,
    places_of,
    popularity_lift,
)
from tfrs_twotower.ranking import GroundTruth

ALPHA = 0.05
"""A corrected p below this is significant."""
MODEL_SYSTEMS = ("retrieval", "cascade", "hybrid", "cross_encoder")
"""Systems that depend on the trained towers; the others are baselines."""
_LABELS = {
    "ease": "EASE",
    "rdlae": "RDLAE",
    "recent_ease": "recent EASE",
    "ials": "iALS",
    "item_knn": "item kNN",
    "bm25": "BM25",
    "cross_encoder": "cross-encoder",
}


def label(system: str) -> str:
    """A system's name in words: `item_knn` is `item kNN`; others get spaces for underscores."""
    return _LABELS.get(system, system.replace("_", " "))


@dataclass(frozen=True)
class Ranking:
    """The lists of one system with one setting.

    Attributes:
        ranked: `[num_queries, K]` rows.
        places: `[num_pairs]` where each relevant candidate stands in its query's list, or -1.
        judged: the lists, judged by the ground truth.
    """

    ranked: NDArray[np.int64]
    places: NDArray[np.int64]
    judged: Judged

    @classmethod
    def of(cls, ranked: NDArray[np.int64], truth: GroundTruth) -> "Ranking":
        """Judges lists."""
        places = places_of(ranked, truth)
        return cls(ranked, places, judge_places(places, truth, ranked.shape[1]))

    def take(self, part: "Part") -> "Ranking":
        """The lists of the queries of a part, judged by its ground truth."""
        places = self.places[part.pairs]
        judged = judge_places(places, part.truth, self.ranked.shape[1])
        return Ranking(self.ranked[part.queries], places, judged)


class Part(NamedTuple):
    """A part of the relevant candidates of a ground truth."""

    pairs: NDArray[np.bool_]
    """`[num_pairs]` those of the part."""
    queries: NDArray[np.int64]
    """The queries that have one of them, ascending."""
    truth: GroundTruth
    """Of these queries, with these candidates only."""

    @classmethod
    def of(cls, truth: GroundTruth, pairs: NDArray[np.bool_]) -> "Part":
        """The part of a ground truth with these pairs."""
        kept = truth.where(pairs)
        queries = np.flatnonzero(kept.relevant.lengths > 0)
        return cls(pairs, queries, kept.take(queries))


@dataclass(frozen=True)
class SystemRun:
    """The rankings of one system.

    Attributes:
        name: name of the system, such as `retrieval` or `ease`.
        main: the ranking that is shown; a tuned baseline's is that of the first key metric.
        of_metric: rankings of the metrics for which validation chose another setting.
    """

    name: str
    main: Ranking
    of_metric: Mapping[str, Ranking] = field(default_factory=dict)

    @property
    def ranked(self) -> NDArray[np.int64]:
        """`[num_queries, K]` rows of the main ranking."""
        return self.main.ranked

    @property
    def judged(self) -> Judged:
        """The main ranking, judged by the ground truth."""
        return self.main.judged

    def ranking(self, metric: str) -> Ranking:
        """The ranking that a metric is measured on."""
        return self.of_metric.get(metric, self.main)

    def values(self, metric: str) -> NDArray[np.float64]:
        """The metric of each query, `[num_queries]`."""
        return per_query(metric, self.ranking(metric).judged)

    def take(self, part: Part) -> "SystemRun":
        """The rankings of the queries of a part, judged by its ground truth."""
        taken = {id(one): one.take(part) for one in (self.main, *self.of_metric.values())}
        others = {metric: taken[id(one)] for metric, one in self.of_metric.items()}
        return SystemRun(self.name, taken[id(self.main)], others)


def key_metrics(ks: tuple[int, ...]) -> tuple[str, ...]:
    """The metrics of slices, comparisons and leaderboards.

    They are the nDCG of the shortest list and the recall of the longer ones, or of the only one:
    for ks 10, 20, 100 they are ndcg@10, recall@20, recall@100.
    """
    shortest, *longer = sorted(ks)
    return (f"ndcg@{shortest}", *(f"recall@{k}" for k in longer or [shortest]))


def reported_metrics(ks: tuple[int, ...]) -> tuple[str, ...]:
    """Every ranking metric at every list length, the key metrics first.

    A baseline is tuned for each of them by itself.
    """
    every = [f"{name}@{k}" for name in RANKING_METRICS for k in sorted(ks)]
    return tuple(dict.fromkeys((*key_metrics(ks), *every)))


def figure(mean: float, interval: NDArray[np.float64], queries: int) -> evaluation_document.Figure:
    """A mean with its 95 % interval, `[2]`."""
    low, high = (float(end) for end in interval)
    return evaluation_document.Figure(mean=float(mean), ci95=(low, high), queries=queries)


def figures_of(
    runs: Sequence[SystemRun], names: tuple[str, ...], num_bootstrap: int, seed: int
) -> list[evaluation_document.Metrics]:
    """The named ranking metrics of systems over the same queries; empty without queries."""
    num_queries = len(runs[0].judged) if runs else 0
    if num_queries == 0:
        return [{} for _ in runs]
    columns = [(run, name) for run in runs for name in names]
    values = np.stack([run.values(name) for run, name in columns], axis=1)
    intervals = resampling.mean_intervals(values, num_bootstrap, seed)
    figures = [
        figure(values[:, place].mean(), intervals[:, place], num_queries)
        for place in range(len(columns))
    ]
    return [
        dict(zip(names, figures[start : start + len(names)], strict=True))
        for start in range(0, len(figures), len(names))
    ]


def system_metrics(
    runs: Sequence[SystemRun],
    inputs: evaluated_data.EvaluationInputs,
    ks: tuple[int, ...],
    num_bootstrap: int,
    seed: int,
) -> list[evaluation_document.Metrics]:
    """Every metric of each system at every list length.

    `coverage@K` describes these lists and is not a mean over sampled queries: its interval is its
    value. `popularity_lift@K` is over the queries that have a profile, and is left out if there
    are none. Both describe the lists that `ndcg@K` is measured on.
    """
    names = tuple(f"{name}@{k}" for name in RANKING_METRICS for k in sorted(ks))
    figures = figures_of(runs, names, num_bootstrap, seed)
    for run, metrics in zip(runs, figures, strict=True):
        metrics |= _exposure(run, inputs, ks, num_bootstrap, seed)
    return figures


def _exposure(
    run: SystemRun,
    inputs: evaluated_data.EvaluationInputs,
    ks: tuple[int, ...],
    num_bootstrap: int,
    seed: int,
) -> evaluation_document.Metrics:
    metrics: evaluation_document.Metrics = {}
    popularity = inputs.counts.astype(np.float64)
    for k in sorted(ks):
        ranked = run.ranking(f"ndcg@{k}").ranked
        covered = coverage(ranked, k, int(inputs.eligible.sum()))
        metrics[f"coverage@{k}"] = figure(covered, np.array([covered, covered]), len(ranked))
        shown, chosen = popularity_lift(ranked, k, inputs.test.seen, popularity)
        known = ~np.isnan(shown)
        if chosen[known].sum() > 0:
            lift = shown[known].mean() / chosen[known].mean() - 1.0
            interval = resampling.ratio_interval(shown[known], chosen[known], num_bootstrap, seed)
            interval -= 1.0
            metrics[f"popularity_lift@{k}"] = figure(lift, interval, int(known.sum()))
    return metrics


def compare(
    stages: list[SystemRun],
    baselines: list[SystemRun],
    metrics: tuple[str, ...],
    *,
    num_resamples: int,
    seed: int,
) -> tuple[evaluation_document.PairedComparison, ...]:
    """Tests paired differences over the same queries.

    Every stage is compared with the stages after it and with every baseline, in every metric.
    Holm's correction covers all these comparisons as one family.

    Args:
        stages: stages of the model, the served one first: `cascade`, `retrieval`.
        baselines: the other systems.
        metrics: names such as `recall@20`.
        num_resamples: number of resamples of the intervals.
        seed: seed of the resamples.

    Returns:
        One entry for each pair and metric: difference = a - b.
    """
    pairs = [
        (stage, other, metric)
        for place, stage in enumerate(stages)
        for other in (*stages[place + 1 :], *baselines)
        for metric in metrics
    ]
    if not pairs or len(stages[0].judged) == 0:
        return ()
    values = {
        (run.name, metric): run.values(metric)
        for run in (*stages, *baselines)
        for metric in metrics
    }
    differences = np.stack(
        [values[stage.name, metric] - values[other.name, metric] for stage, other, metric in pairs],
        axis=1,
    )
    p = resampling.paired_randomisation(differences)
    corrected = resampling.holm(p)
    p_t_test = resampling.paired_t_test(differences)
    low, high = resampling.mean_intervals(differences, num_resamples, seed)
    return tuple(
        evaluation_document.PairedComparison(
            a=stage.name,
            b=other.name,
            metric=metric,
            difference=float(differences[:, place].mean()),
            ci95=(float(low[place]), float(high[place])),
            p=float(p[place]),
            p_holm=float(corrected[place]),
            p_t_test=float(p_t_test[place]),
            significant=bool(corrected[place] < ALPHA),
            test="paired randomisation over queries, two-sided",
        )
        for place, (stage, other, metric) in enumerate(pairs)
    )
