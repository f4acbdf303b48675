"""The leaderboard as rows, for a terminal and for the report page."""

from dataclasses import dataclass
from typing import Any

from tfrs_twotower.evaluation.key_metrics import key_metrics

_SERVED_AS_IS = "two towers, dot product, exact search; nothing ranks after it"
DESCRIPTIONS = {
    "retrieval": "two towers, dot product, exact search",
    "cascade": "what is served",
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
        marks: of a baseline, for each key metric: `+` where retrieval is significantly better
            than it, `-` where significantly worse, `=` otherwise.
        is_model: whether it is one of the model's own stages.
        best: the metrics in which no system has a higher mean.
    """

    system: str
    description: str
    figures: dict[str, dict[str, Any]]
    marks: dict[str, str]
    is_model: bool
    best: frozenset[str]


def leaderboard(document: dict[str, Any], ks: tuple[int, ...]) -> list[LeaderboardRow]:
    """Rows of `evaluation.json`, best system first (by the sum of the key metrics).

    A cascade that returns what retrieval returns is no row of its own.

    Args:
        document: the content of `evaluation.json`.
        ks: list lengths of the run config.
    """
    metrics = key_metrics(ks)
    systems = dict(document["systems"])
    served_as_is = systems.get("cascade") == systems["retrieval"]
    if served_as_is:
        del systems["cascade"]
    marks: dict[str, dict[str, str]] = {}
    for entry in document["comparisons"]:
        mark = "=" if not entry["significant"] else "+" if entry["difference"] > 0 else "-"
        marks.setdefault(entry["b"], {})[entry["metric"]] = mark
    means = {
        name: {metric: system["metrics"][metric]["mean"] for metric in metrics}
        for name, system in systems.items()
    }
    top = {metric: max(row[metric] for row in means.values()) for metric in metrics}
    rows = [
        LeaderboardRow(
            system=name,
            description=(
                _SERVED_AS_IS
                if served_as_is and name == "retrieval"
                else DESCRIPTIONS.get(name, "")
            ),
            figures={metric: systems[name]["metrics"][metric] for metric in metrics},
            marks=marks.get(name, {}),
            is_model=name in ("retrieval", "cascade"),
            best=frozenset(metric for metric in metrics if means[name][metric] == top[metric]),
        )
        for name in systems
    ]
    return sorted(rows, key=lambda row: -sum(means[row.system].values()))
