"""Oracle of preprocessing: examples and queries of a table of events, all in memory.

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
    examples = {}
    visible_splits = ORDER[: ORDER.index(split) + 1]
    for event in events:
        if event["split"] != split or not event["positive"]:
            continue
        visible = [
            e for e in events if e["query_id"] == event["query_id"] and e["split"] in visible_splits
        ]
        moment = (event["timestamp"], event["position"])
        is_repeated = any(
            e["positive"]
            and e["candidate_id"] == event["candidate_id"]
            and (e["timestamp"], e["position"]) < moment
            for e in visible
        )
        if new_pairs_only and is_repeated:
            continue
        past = _as_history(visible, positives_only)
        own = (event["timestamp"], event["position"], event["candidate_id"], True)
        if window == "before":
            history = history_before(past, own, length)
        elif split == "train":
            history = history_leave_one_out(past, own, length)
        else:  # the earlier events, without those of the own candidate
            others = [e for e in past if e[2] != own[2]]
            history = history_before(others, own, length)
        key = (event["query_id"], event["candidate_id"], event["timestamp"], event["position"])
        examples[key] = history
    return examples


def evaluated_queries(
    events, split, *, length, positives_only, new_pairs_only, known_queries, known_candidates
):
    """{query: (history, {relevant: gain}, seen, number of earlier events)}."""
    earlier_splits = ORDER[: ORDER.index(split)]
    trained_queries = {e["query_id"] for e in events if e["split"] == "train"}
    trained_candidates = {e["candidate_id"] for e in events if e["split"] == "train"}
    queries = {}
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
            queries[query] = (history, relevant, seen, len(earlier))
    return queries
