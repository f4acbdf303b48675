"""The result in one sentence."""

from typing import Any


def headline(document: dict[str, Any], ks: tuple[int, ...], rivals: list[str]) -> str:
    """What retrieval finds, and how that compares with the best baseline.

    Args:
        document: the content of `evaluation.json`.
        ks: list lengths, ascending.
        rivals: baselines, best first.
    """
    metric = f"recall@{max(ks)}"
    found = document["systems"]["retrieval"]["metrics"][metric]
    ranked = document["protocol"]["ranked_candidates"]
    text = (
        f"For {found['queries']:,} test queries, the first {max(ks)} of {ranked:,} candidates "
        f"hold {100 * found['mean']:.1f} % of what was relevant"
    )
    entries = [
        entry
        for entry in document["comparisons"]
        if entry["metric"] == metric and entry["b"] in rivals and entry["b"] != "hybrid"
    ]
    if not entries:
        return text + "."
    best = min(entries, key=lambda entry: entry["difference"])
    points = 100 * best["difference"]
    name = best["b"].replace("_", " ")
    sure = "a significant difference" if best["significant"] else "not a significant difference"
    direction = "more" if points >= 0 else "less"
    return f"{text}: {abs(points):.1f} points {direction} than {name}, the best baseline ({sure})."
