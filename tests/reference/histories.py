"""Oracle of the histories of one query, with quadratic loops on purpose.

An event is `(timestamp, position, candidate id, counts)`; `counts` says whether it may be in a
history.
"""


def distinct_latest_first(events):
    """Candidates of the events, most recent first, each at its most recent event."""
    ordered = sorted(events, key=lambda event: (event[0], event[1]), reverse=True)
    history = []
    for _, _, candidate_id, counts in ordered:
        if counts and candidate_id not in history:
            history.append(candidate_id)
    return history


def history_before(events, own, max_length):
    """Candidates of the events strictly earlier than the event `own`."""
    earlier = [event for event in events if event[0] < own[0]]
    return tuple(distinct_latest_first(earlier)[:max_length])


def history_leave_one_out(events, own, max_length):
    """Candidates of all events without that of the event `own`, wherever it occurs."""
    others = [event for event in events if event[2] != own[2]]
    return tuple(distinct_latest_first(others)[:max_length])
