"""What preprocessing makes of a table of events, by definition and all in memory.

An event is a dict with query_id, candidate_id, timestamp, position, positive, label, split.
"""

from tests.reference.histories import (
    distinct_latest_first,
    history_before,
    history_leave_one_out,
)

ORDER = ("train", "validation", "test")


def _as_history(events, positives_only):
    return [
        (e["timestamp"], e["position"], e["candidate_id"], e["positive"] or not positives_only)
        for e in events
    ]


def training_examples(events, split, *, length, window, positives_only, new_pairs_only):
    """{(query, candidate, time, position): history} of the split's positive events.

    With new_pairs_only an event whose pair had a positive event before, by (time, position), is
    left out.
    """
    found = {}
    shown_splits = ORDER[: ORDER.index(split) + 1]
    for event in events:
        if event["split"] != split or not event["positive"]:
            continue
        shown = [
            e for e in events if e["query_id"] == event["query_id"] and e["split"] in shown_splits
        ]
        place = (event["timestamp"], event["position"])
        repeats = any(
            e["positive"]
            and e["candidate_id"] == event["candidate_id"]
            and (e["timestamp"], e["position"]) < place
            for e in shown
        )
        if new_pairs_only and repeats:
            continue
        past = _as_history(shown, positives_only)
        own = (event["timestamp"], event["position"], event["candidate_id"], True)
        if window == "before":
            history = history_before(past, own, length)
        elif split == "train":
            history = history_leave_one_out(past, own, length)
        else:  # what came before, as if the own candidate had never been met
            others = [e for e in past if e[2] != own[2]]
            history = history_before(others, own, length)
        key = (event["query_id"], event["candidate_id"], event["timestamp"], event["position"])
        found[key] = history
    return found


def evaluated_queries(
    events, split, *, length, positives_only, new_pairs_only, known_queries, known_candidates
):
    """{query: (history, {relevant: gain}, seen, number of earlier events)}."""
    earlier_splits = ORDER[: ORDER.index(split)]
    trained_queries = {e["query_id"] for e in events if e["split"] == "train"}
    trained_candidates = {e["candidate_id"] for e in events if e["split"] == "train"}
    found = {}
    for query in sorted({e["query_id"] for e in events if e["split"] == split}):
        if known_queries and query not in trained_queries:
            continue
        own = [e for e in events if e["query_id"] == query]
        earlier = [e for e in own if e["split"] in earlier_splits]
        seen = {e["candidate_id"] for e in earlier} if new_pairs_only else set()
        relevant = {}
        for e in own:
            if e["split"] != split or not e["positive"] or e["candidate_id"] in seen:
                continue
            if known_candidates and e["candidate_id"] not in trained_candidates:
                continue
            relevant[e["candidate_id"]] = max(e["label"], relevant.get(e["candidate_id"], 0))
        if relevant:
            past = _as_history(earlier, positives_only)
            history = tuple(distinct_latest_first(past)[:length])
            found[query] = (history, relevant, seen, len(earlier))
    return found
