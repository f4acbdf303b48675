"""The result in one sentence."""

from typing import Any

from tfrs_twotower.evaluation.labels import label


def headline(document: dict[str, Any], ks: tuple[int, ...], rivals: list[str]) -> str:
    """What retrieval finds, how that compares with the best baseline, what later stages add.

    Args:
        document: the content of `evaluation.json`.
        ks: list lengths, ascending.
        rivals: baselines, best first.
    """
    metric = f"recall@{max(ks)}"
    found = document["systems"]["retrieval"]["metrics"][metric]
    ranked = document["protocol"]["ranked_candidates"]
    whose = "retrieval's" if document["funnel"].get("pool") else "the"
    text = (
        f"For {found['queries']:,} test queries, {whose} first {max(ks)} of {ranked:,} candidates "
        f"hold {_percent(found['mean'])} of what was relevant"
    )
    compared = {
        entry["b"]: entry
        for entry in document["comparisons"]
        if entry["metric"] == metric and entry["a"] == "retrieval"
    }
    entries = [compared[name] for name in rivals if name in compared and name != "hybrid"]
    text += _against_the_best(entries, found["mean"])
    if "hybrid" in compared:
        fused = document["systems"]["hybrid"]["metrics"][metric]["mean"]
        fusion = compared["hybrid"]
        text += f" Fused with BM25 (hybrid) it is {_percent(fused)}, "
        text += f"{_change(-fusion['difference'], fusion['significant'])}."
    return text + _pre_ranking(document, f"ndcg@{min(ks)}")


def _against_the_best(entries: list[dict[str, Any]], mean: float) -> str:
    if not entries:
        return "."
    best = min(entries, key=lambda entry: entry["difference"])
    points, rival = 100 * best["difference"], label(best["b"])
    if best["significant"]:
        direction = "more" if points >= 0 else "less"
        return f": {abs(points):.1f} points {direction} than {rival}, the best baseline."
    direction = "worse" if points >= 0 else "better"
    share = _percent(mean - best["difference"])
    return f". {rival}, the best baseline, is not significantly {direction} ({share})."


def _pre_ranking(document: dict[str, Any], metric: str) -> str:
    pool = document["funnel"].get("pool")
    added = next(
        (
            entry
            for entry in document["comparisons"]
            if (entry["a"], entry["b"], entry["metric"]) == ("cascade", "retrieval", metric)
        ),
        None,
    )
    if not pool or added is None:
        return ""
    before, after = (
        document["systems"][name]["metrics"][metric]["mean"] for name in ("retrieval", "cascade")
    )
    return (
        f" Pre-ranking retrieval's first {pool['num_candidates']} takes {metric} from "
        f"{before:.3f} to {after:.3f}, {_change(added['difference'], added['significant'])}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _change(difference: float, significant: bool) -> str:
    if not significant:
        return "no significant difference"
    return f"a significant {'gain' if difference >= 0 else 'loss'}"
