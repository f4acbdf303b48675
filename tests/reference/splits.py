"""Oracle of the splits, on whole tables in memory."""

import math


def temporal_cutoffs(times, test_fraction, validation_fraction):
    """(validation_from, test_from): the sorted times at floor((1 - share) n)."""
    ordered = sorted(times)
    n = len(ordered)

    def at(share):
        return ordered[min(max(math.floor((1 - share) * n + 1e-9), 0), n - 1)]

    return at(test_fraction + validation_fraction), at(test_fraction)


def temporal(events, test_fraction, validation_fraction):
    """Split of each event `(time, session)`; a session goes where its first event is."""
    starts = {}
    for time, session in events:
        if session:
            starts[session] = min(time, starts.get(session, time))
    times = [starts.get(session, time) for time, session in events]
    validation_from, test_from = temporal_cutoffs(times, test_fraction, validation_fraction)
    return [
        "train" if time < validation_from else "validation" if time < test_from else "test"
        for time in times
    ]


def per_query_last(order, test, validation):
    """Split of each event of one query from its (time, position); shares round down."""
    n = len(order)
    num_test = math.floor(test * n + 1e-9) if isinstance(test, float) else test
    num_validation = (
        math.floor(validation * n + 1e-9) if isinstance(validation, float) else validation
    )
    if n - num_test - num_validation < 1:
        return ["train"] * n
    ranks = {key: rank for rank, key in enumerate(sorted(order))}
    names = []
    for key in order:
        from_end = n - ranks[key]
        if from_end <= num_test:
            names.append("test")
        elif from_end <= num_test + num_validation:
            names.append("validation")
        else:
            names.append("train")
    return names
