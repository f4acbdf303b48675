"""The result of an evaluation as a leaderboard and in one sentence."""

from collections.abc import Iterable
from dataclasses import dataclass

from tfrs_twotower.evaluation import evaluation_document
from tfrs_twotower.evaluation.systems import MODEL_SYSTEMS, key_metrics, label
from tfrs_twotower.evaluation.verdict import served_stage, standing_of, verdict_of

_SERVED_ALONE = "two towers, dot product, exact search; nothing ranks after it"
DESCRIPTIONS = {
    "retrieval": "two towers, dot product, exact search",
    "cascade": "the first {} of retrieval, scored again by the pre-ranker",
    "popularity": "most interactions in training",
    "recent_popularity": "most interactions in the last days of training",
    "item_knn": "cosine neighbours of the history",
    "ease": "linear autoencoder in closed form",
    "rdlae": "EASE with dropout and a limited diagonal",
    "recent_ease": "EASE of a history whose older candidates weigh less",
    "ials": "matrix factorisation by alternating least squares",
    "bm25": "weighted words in common",
    "hybrid": "BM25 and retrieval, weighed",
    "cross_encoder": "the first of retrieval, both texts read together; never served",
}


@dataclass(frozen=True)
class LeaderboardRow:
    """One system.

    Attributes:
        system: its name.
        description: the system in a few words.
        figures: figure of each key metric.
        verdict: how it stands against the baselines, where it is one of the model's own stages.
        best: the metrics in which no system has a higher mean.
    """

    system: str
    description: str
    figures: evaluation_document.Metrics
    verdict: evaluation_document.Verdict | None
    best: frozenset[str]

    @property
    def is_model(self) -> bool:
        """Whether it is one of the model's own stages."""
        return self.verdict is not None


@dataclass(frozen=True)
class Difference:
    """One stage of the model against one other system.

    Attributes:
        comparison: the tested difference, the stage minus the system.
        standing: that of the stage: `ahead` where it is significantly better.
    """

    comparison: evaluation_document.PairedComparison
    standing: evaluation_document.Standing


def model_stages(document: evaluation_document.EvaluationDocument) -> list[str]:
    """The model's stages, the served one first; without a second stage only retrieval."""
    return list(dict.fromkeys((served_stage(document), "retrieval")))


def differences(
    document: evaluation_document.EvaluationDocument, stage: str, systems: Iterable[str]
) -> dict[str, dict[str, Difference]]:
    """The differences of a stage by system and metric, in the order of the systems."""
    found: dict[str, dict[str, Difference]] = {}
    for entry in document.comparisons:
        if entry.a == stage:
            standing = standing_of(entry.difference, significant=entry.significant)
            found.setdefault(entry.b, {})[entry.metric] = Difference(entry, standing)
    return {name: found[name] for name in systems if name in found}


def leaderboard(
    document: evaluation_document.EvaluationDocument, ks: tuple[int, ...]
) -> list[LeaderboardRow]:
    """Rows of `evaluation.json`, best system first (by the sum of the key metrics).

    Args:
        document: the content of `evaluation.json`.
        ks: list lengths of the run config.
    """
    metrics = key_metrics(ks)
    stages = model_stages(document)
    systems = {
        name: system
        for name, system in document.systems.items()
        if name != "cascade" or name in stages
    }
    means = {
        name: {metric: system.metrics[metric].mean for metric in metrics}
        for name, system in systems.items()
    }
    top = {metric: max(row[metric] for row in means.values()) for metric in metrics}
    rows = [
        LeaderboardRow(
            system=name,
            description=_description(name, document.funnel.pool),
            figures={metric: system.metrics[metric] for metric in metrics},
            verdict=verdict_of(document, name) if name in stages else None,
            best=frozenset(metric for metric in metrics if means[name][metric] == top[metric]),
        )
        for name, system in systems.items()
    ]
    return sorted(rows, key=lambda row: -sum(means[row.system].values()))


def _description(system: str, pool: evaluation_document.Pool | None) -> str:
    if pool is None:
        return _SERVED_ALONE if system == "retrieval" else DESCRIPTIONS.get(system, "")
    return DESCRIPTIONS.get(system, "").format(pool.num_candidates)


def headline(
    document: evaluation_document.EvaluationDocument, ks: tuple[int, ...], baselines: list[str]
) -> str:
    """The result in one sentence: retrieval, the best baseline, what later stages add.

    Args:
        document: the content of `evaluation.json`.
        ks: list lengths, ascending.
        baselines: best first.
    """
    metric = f"recall@{max(ks)}"
    recall = document.systems["retrieval"].metrics[metric]
    whose = "retrieval's" if document.funnel.pool is not None else "the"
    text = (
        f"For {recall.queries:,} test queries, {whose} first {max(ks)} of "
        f"{document.protocol.ranked_candidates:,} candidates hold {_percent(recall.mean)} of what "
        "was relevant"
    )
    compared = {
        entry.b: entry
        for entry in document.comparisons
        if entry.metric == metric and entry.a == "retrieval"
    }
    entries = [
        compared[name] for name in baselines if name in compared and name not in MODEL_SYSTEMS
    ]
    text += _against_the_best(entries, recall.mean)
    if "hybrid" in compared:
        fused = document.systems["hybrid"].metrics[metric].mean
        fusion = compared["hybrid"]
        text += f" Fused with BM25 (hybrid) it is {_percent(fused)}, "
        text += f"{_change(-fusion.difference, fusion.significant)}."
    return text + _pre_ranking(document, f"ndcg@{min(ks)}")


def _against_the_best(entries: list[evaluation_document.PairedComparison], mean: float) -> str:
    if not entries:
        return "."
    best = min(entries, key=lambda entry: entry.difference)
    points, name = 100 * best.difference, label(best.b)
    if best.significant:
        direction = "more" if points >= 0 else "less"
        return f": {abs(points):.1f} points {direction} than {name}, the best baseline."
    direction = "worse" if points >= 0 else "better"
    reached = _percent(mean - best.difference)
    return f". {name}, the best baseline, is not significantly {direction} ({reached})."


def _pre_ranking(document: evaluation_document.EvaluationDocument, metric: str) -> str:
    pool = document.funnel.pool
    gain = next(
        (
            entry
            for entry in document.comparisons
            if (entry.a, entry.b, entry.metric) == ("cascade", "retrieval", metric)
        ),
        None,
    )
    if pool is None or gain is None:
        return ""
    before, after = (
        document.systems[name].metrics[metric].mean for name in ("retrieval", "cascade")
    )
    return (
        f" Pre-ranking retrieval's first {pool.num_candidates} takes {metric} from "
        f"{before:.3f} to {after:.3f}, {_change(gain.difference, gain.significant)}."
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}\N{NO-BREAK SPACE}%"


def _change(difference: float, significant: bool) -> str:
    if not significant:
        return "no significant difference"
    return f"a significant {'gain' if difference >= 0 else 'loss'}"
