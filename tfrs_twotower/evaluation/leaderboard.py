"""The leaderboard as rows, for a terminal and for the report page."""

from dataclasses import dataclass
from typing import Any

from tfrs_twotower.evaluation.key_metrics import key_metrics

_SERVED_AS_IS = "two towers, dot product, exact search; nothing ranks after it"
DESCRIPTIONS = {
    "retrieval": "two towers, dot product, exact search",
    "cascade": "the first {} of retrieval, scored again by the pre-ranker",
    "popularity": "most interactions in training",
    "recent_popularity": "most interactions in the last days of training",
    "item_knn": "cosine neighbours of the history",
    "ease": "linear autoencoder in closed form",
    "bm25": "weighted words in common",
    "hybrid": "BM25 and retrieval, weighed",
}


@dataclass(frozen=True)
class LeaderboardRow:
    """One system.

    Attributes:
        system: its name.
        description: what it is, in a few words.
        figures: mean and interval of each key metric.
        marks: for each key metric a sign for each of the model's stages that it is compared with,
            what is served first: `+` where the stage is significantly better than this system,
            `-` where significantly worse, `=` otherwise.
        is_model: whether it is one of the model's own stages.
        best: the metrics in which no system has a higher mean.
    """

    system: str
    description: str
    figures: dict[str, dict[str, Any]]
    marks: dict[str, str]
    is_model: bool
    best: frozenset[str]


def model_stages(document: dict[str, Any]) -> list[str]:
    """The model's stages, what is served first; a cascade that is retrieval alone is none.

    Args:
        document: the content of `evaluation.json`.
    """
    return ["cascade", "retrieval"] if document["funnel"].get("pool") else ["retrieval"]


def leaderboard(document: dict[str, Any], ks: tuple[int, ...]) -> list[LeaderboardRow]:
    """Rows of `evaluation.json`, best system first (by the sum of the key metrics).

    Args:
        document: the content of `evaluation.json`.
        ks: list lengths of the run config.
    """
    metrics = key_metrics(ks)
    stages = model_stages(document)
    systems = {
        name: system
        for name, system in document["systems"].items()
        if name != "cascade" or name in stages
    }
    marks: dict[str, dict[str, str]] = {name: dict.fromkeys(metrics, "") for name in systems}
    for entry in document["comparisons"]:
        mark = "=" if not entry["significant"] else "+" if entry["difference"] > 0 else "-"
        marks[entry["b"]][entry["metric"]] += mark
    means = {
        name: {metric: system["metrics"][metric]["mean"] for metric in metrics}
        for name, system in systems.items()
    }
    top = {metric: max(row[metric] for row in means.values()) for metric in metrics}
    rows = [
        LeaderboardRow(
            system=name,
            description=_description(name, document["funnel"].get("pool")),
            figures={metric: systems[name]["metrics"][metric] for metric in metrics},
            marks=marks[name],
            is_model=name in stages,
            best=frozenset(metric for metric in metrics if means[name][metric] == top[metric]),
        )
        for name in systems
    ]
    return sorted(rows, key=lambda row: -sum(means[row.system].values()))


def _description(system: str, pool: dict[str, Any] | None) -> str:
    if pool is None:
        return _SERVED_AS_IS if system == "retrieval" else DESCRIPTIONS.get(system, "")
    return DESCRIPTIONS.get(system, "").format(pool["num_candidates"])
