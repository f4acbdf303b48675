"""What the order and the times of events say: whether demand moves, and whether recent events tell.

Both are measured on training events only, and both decide settings that no name of a column shows.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipelines.init_spec.event_counts import DAY_S, Events
from tfrs_twotower import specs

_LEAST_EVENTS = 1000
_POPULAR = 100
_RECENT_S = 28 * DAY_S
_MOST_TRIED = 20_000
_LEAST_TRIED = 200
_LEAST_EARLIER = 4
_AT_ONCE = 2000


def drift(events: Events, split: NDArray[np.integer]) -> float | None:
    """How much better recent demand tells what comes next than all demand before does.

    The last tenths of the training events are looked at: the share of each that goes to the 100
    candidates that were most popular in the four weeks before, divided by the share of the 100 that
    were most popular in all the time before. None without times, or where the time is too short.

    Returns:
        The mean over the last three tenths, fewer if the time before one is below eight weeks.
    """
    train = np.flatnonzero((split == specs.TRAIN) & events.positive)
    if len(train) < _LEAST_EVENTS or not events.times.any():
        return None
    times, candidates = events.times[train], events.candidates[train]
    ratios = []
    for tenth in (7, 8, 9):
        cut, end = times[len(train) * tenth // 10], times[len(train) * (tenth + 1) // 10 - 1]
        then = candidates[(times >= cut) & (times <= end)]
        if cut - times[0] < 2 * _RECENT_S:
            continue
        shares = []
        for start in (cut - _RECENT_S, times[0]):
            counts = np.bincount(candidates[(times >= start) & (times < cut)])
            popular = np.argsort(-counts, kind="stable")[:_POPULAR]
            shares.append(float(np.isin(then, popular).mean()))
        ratios.append(shares[0] / max(shares[1], 1e-9))
    return float(np.mean(ratios)) if ratios else None


def recency(events: Events, split: NDArray[np.integer]) -> float | None:
    """How much nearer an event is to the one before it than to one of the query's first half.

    Nearness of two candidates is the cosine of who chose them, without the query in question. A
    value of 1 means that the order of a history tells nothing; the second of two films of one
    sitting, or a part that goes with the toy just bought, gives much more.

    Returns:
        The mean nearness to the latest earlier event, divided by that to a random event of the
        first half of the earlier ones; None where too few events have four earlier ones. Events of
        one second are not earlier than each other.
    """
    kept = np.flatnonzero((split == specs.TRAIN) & events.positive & events.first_of_pair)
    kept = kept[np.argsort(events.queries[kept], kind="stable")]
    queries, candidates = events.queries[kept], events.candidates[kept]
    moments = events.times[kept] if events.times.any() else np.arange(len(kept))
    starts = np.searchsorted(queries, np.arange(len(events.query_ids)))
    draw = np.random.default_rng(0)
    tried: list[tuple[int, int, int]] = []
    for place in draw.permutation(len(kept)):
        start = starts[queries[place]]
        earlier = int(np.searchsorted(moments[start:place], moments[place]))
        if earlier >= _LEAST_EARLIER:
            tried.append((place, start + earlier - 1, start + draw.integers(earlier // 2)))
        if len(tried) == _MOST_TRIED:
            break
    if len(tried) < _LEAST_TRIED:
        return None
    own, latest, early = candidates[np.array(tried)].T
    chosen = sparse.csr_matrix((np.ones(len(kept)), (queries, candidates)))
    counts = np.asarray(chosen.sum(axis=0)).ravel()
    unit = sparse.csc_matrix(chosen @ sparse.diags_array(1.0 / np.sqrt(np.maximum(counts, 1.0))))
    near, far = (_nearness(unit, counts, own, other) for other in (latest, early))
    return near / far if far > 0 else None


def _nearness(
    unit: sparse.csc_matrix,
    counts: NDArray[np.float64],
    a: NDArray[np.int64],
    b: NDArray[np.int64],
) -> float:
    """The mean cosine of pairs of columns, which one query has in common by construction."""
    total = 0.0
    for start in range(0, len(a), _AT_ONCE):
        these, those = a[start : start + _AT_ONCE], b[start : start + _AT_ONCE]
        total += float(unit[:, these].multiply(unit[:, those]).sum())
        total -= float((1.0 / np.sqrt(counts[these] * counts[those])).sum())
    return total / len(a)
