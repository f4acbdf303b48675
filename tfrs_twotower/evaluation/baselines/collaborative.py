"""What baselines make of interactions alone: counts, matrices, profiles, neighbours.

Popularity gives everybody the same list. The others read a query's profile, its earlier
candidates; a query without one falls back to popularity.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.closed_form.ease import binary_matrix
from tfrs_twotower.closed_form.linear_models import LinearModel
from tfrs_twotower.closed_form.neighbours import row_starts
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation import corpus_ranking, evaluated_data
from tfrs_twotower.ranking.ragged import distinct_pairs

_SECONDS_PER_DAY = 86_400
_QUERIES_AHEAD = 1_024


def window(
    log: evaluated_data.InteractionLog, splits: Sequence[int], *, positives_only: bool
) -> NDArray[np.bool_]:
    """`[num_interactions]`: which interactions are in the splits (and positive)."""
    chosen = np.isin(log.split, np.asarray(splits))
    return chosen & log.positive if positives_only else chosen


def interaction_matrix(
    log: evaluated_data.InteractionLog, chosen: NDArray[np.bool_], num_candidates: int
) -> sparse.csr_matrix:
    """`[num_queries, num_candidates]` float32, 1 where a chosen interaction is (or several)."""
    return binary_matrix(
        log.query[chosen], log.candidate[chosen], len(log.query_ids), num_candidates
    )


def profile_positions(
    log: evaluated_data.InteractionLog,
    chosen: NDArray[np.bool_],
    query_set: QuerySet,
    num_candidates: int,
) -> sparse.csr_matrix:
    """The profile of each evaluated query: its chosen interactions, in order of time.

    Returns:
        `[len(query_set), num_candidates]` float32: 1 at the latest candidate of the query, 2 at the
        one before, and so on; a repeat counts where it is latest. Events of one time keep the order
        of the log.
    """
    place = np.full(len(log.query_ids), -1, np.int64)
    codes = log.codes_of(query_set.ids)
    known = codes >= 0
    place[codes[known]] = np.flatnonzero(known)
    events = np.flatnonzero(chosen & (place[log.query] >= 0))
    owners = place[log.query[events]]
    order = np.lexsort((-events, -log.timestamp[events], owners))
    owners, rows = owners[order], log.candidate[events[order]]
    _, latest = np.unique(owners * num_candidates + rows, return_index=True)
    latest.sort()
    owners, rows = owners[latest], rows[latest]
    starts = row_starts(owners, len(query_set))
    positions = np.arange(1, len(owners) + 1) - starts[:-1][owners]
    return sparse.csr_matrix(
        (positions.astype(np.float32), (owners, rows)), shape=(len(query_set), num_candidates)
    )


def interaction_counts(
    log: evaluated_data.InteractionLog,
    chosen: NDArray[np.bool_],
    num_candidates: int,
    *,
    distinct: bool,
) -> NDArray[np.int64]:
    """`[num_candidates]`: chosen interactions of each candidate.

    Args:
        log: all interactions.
        chosen: `[num_interactions]` which of them count.
        num_candidates: size of the corpus.
        distinct: counts queries instead of events. If only new pairs are relevant, a query's
            repeats say nothing about other queries' first choice.
    """
    rows = log.candidate[chosen]
    if distinct:
        _, rows = distinct_pairs(
            log.query[chosen],
            rows,
            num_queries=len(log.query_ids),
            num_candidates=num_candidates,
        )
    return np.bincount(rows, minlength=num_candidates)


def recent(
    log: evaluated_data.InteractionLog, chosen: NDArray[np.bool_], recent_days: float
) -> NDArray[np.bool_]:
    """`[num_interactions]`: the chosen interactions of the last days before the latest of them."""
    if not chosen.any():
        return chosen
    end = int(log.timestamp[chosen].max())
    return chosen & (log.timestamp > end - recent_days * _SECONDS_PER_DAY)


class PopularityScorer(corpus_ranking.SameForAll):
    """One score for each candidate, the same for every query."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        super().__init__(counts.astype(np.float32))


ProfileModel = Callable[[sparse.csr_matrix], NDArray[np.floating]]
"""From profiles `[num_profiles, num_candidates]`, weights of their candidates, to scores of the
whole corpus in the same shape."""


class ProfileScorer:
    """Scores each query by its profile, or by popularity if it has none.

    Attributes:
        positions: `profile_positions` of all queries.
        model: gives the scores of profiles.
        fallback: scores the queries without a profile.
        half_life: number of candidates after which a weight in the profile is halved; None weighs
            all alike.
    """

    def __init__(
        self,
        positions: sparse.csr_matrix,
        model: ProfileModel,
        fallback: corpus_ranking.Scorer,
        half_life: float | None = None,
    ) -> None:
        self.positions = positions
        self.model = model
        self.fallback = fallback
        self.half_life = half_life
        self._ahead = range(0)
        self._rows: NDArray[np.floating] | None = None

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]`."""
        profiles = self._profiles(queries)
        if isinstance(self.model, LinearModel):
            scores = self.model(profiles, self._prepared(self.model, queries))
        else:
            scores = self.model(profiles)
        without = np.diff(profiles.indptr) == 0
        if without.any():
            scores[without] = self.fallback(queries[without])
        return scores

    def _profiles(self, queries: NDArray[np.int64]) -> sparse.csr_matrix:
        profiles = self.positions[queries]
        profiles.data = (
            np.ones_like(profiles.data)
            if self.half_life is None
            else np.exp2((1.0 - profiles.data) / np.float32(self.half_life))
        )
        return profiles

    def _prepared(
        self, model: LinearModel, queries: NDArray[np.int64]
    ) -> NDArray[np.floating] | None:
        """Rows of what the model prepares, made for these queries and those that come next."""
        first, last = int(queries.min()), int(queries.max())
        if first < self._ahead.start or last >= self._ahead.stop:
            stop = max(last + 1, min(first + _QUERIES_AHEAD, self.positions.shape[0]))
            self._ahead = range(first, stop)
            self._rows = model.prepared(self._profiles(np.arange(first, stop)))
        return None if self._rows is None else self._rows[queries - self._ahead.start]
