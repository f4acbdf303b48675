"""The result in one sentence."""

from typing import Any

from tfrs_twotower.evaluation.labels import label


def headline(document: dict[str, Any], ks: tuple[int, ...], rivals: list[str]) -> str:
    """What retrieval finds, how that compares with the best baseline, and what fusion adds.

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
        f"hold {100 * found['mean']:.1f}\N{NO-BREAK SPACE}% of what was relevant"
    )
    compared = {entry["b"]: entry for entry in document["comparisons"] if entry["metric"] == metric}
    entries = [compared[name] for name in rivals if name in compared and name != "hybrid"]
    if not entries:
        return text + "."
    best = min(entries, key=lambda entry: entry["difference"])
    points, rival = 100 * best["difference"], label(best["b"])
    if best["significant"]:
        direction = "more" if points >= 0 else "less"
        text += f": {abs(points):.1f} points {direction} than {rival}, the best baseline."
    else:
        direction, share = "worse" if points >= 0 else "better", 100 * found["mean"] - points
        text += f". {rival}, the best baseline, is not significantly {direction} "
        text += f"({share:.1f}\N{NO-BREAK SPACE}%)."
    if "hybrid" not in compared:
        return text
    fused = document["systems"]["hybrid"]["metrics"][metric]["mean"]
    fusion = compared["hybrid"]
    kind = "gain" if fusion["difference"] <= 0 else "loss"
    verdict = f"a significant {kind}" if fusion["significant"] else "no significant difference"
    return f"{text} Fused with BM25 (hybrid) it is {100 * fused:.1f}\N{NO-BREAK SPACE}%, {verdict}."
