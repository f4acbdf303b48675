"""What baselines make of interactions alone: counts, matrices, profiles, neighbours.

Popularity gives everybody the same list. The others read a query's profile, its earlier
candidates; a query without one falls back to popularity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.closed_form.ease import binary_matrix
from tfrs_twotower.closed_form.linear_models import LinearModel
from tfrs_twotower.closed_form.neighbours import row_starts
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation import corpus_ranking, evaluated_data
from tfrs_twotower.ranking.sorting import order_by

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
    order = order_by(owners, -log.timestamp[events], -events)
    owners, rows = owners[order], log.candidate[events[order]]
    _, latest = np.unique(owners * num_candidates + rows, return_index=True)
    latest.sort()
    owners, rows = owners[latest], rows[latest]
    starts = row_starts(owners, len(query_set))
    positions = np.arange(1, len(owners) + 1) - starts[:-1][owners]
    return sparse.csr_matrix(
        (positions.astype(np.float32), (owners, rows)), shape=(len(query_set), num_candidates)
    )


@dataclass(frozen=True)
class Counted:
    """The choices that make a candidate popular, each with its time.

    Attributes:
        candidate: `[num_choices]` rows.
        timestamp: `[num_choices]` seconds, that of the latest event of the choice.
        num_candidates: size of the corpus.
    """

    candidate: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    num_candidates: int

    @classmethod
    def of(
        cls,
        log: evaluated_data.InteractionLog,
        chosen: NDArray[np.bool_],
        num_candidates: int,
        *,
        distinct: bool,
    ) -> "Counted":
        """Takes the chosen interactions.

        Args:
            log: all interactions.
            chosen: `[num_interactions]` which of them count.
            num_candidates: size of the corpus.
            distinct: counts queries instead of events. If only new pairs are relevant, a query's
                repeats say nothing about other queries' first choice.
        """
        rows, times = log.candidate[chosen], log.timestamp[chosen]
        if distinct and len(rows):
            pairs = log.query[chosen] * num_candidates + rows
            order = np.argsort(pairs, kind="stable")
            pairs = pairs[order]
            starts = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]]))
            rows = pairs[starts] % num_candidates
            times = np.maximum.reduceat(times[order], starts)
        return cls(rows, times, num_candidates)

    def counts(self, days: float | None = None) -> NDArray[np.int64]:
        """`[num_candidates]`: choices of each candidate, all or those of the last days.

        The days end with the latest of all choices.
        """
        rows = self.candidate
        if days is not None and len(rows):
            end = int(self.timestamp.max())
            rows = rows[self.timestamp > end - days * _SECONDS_PER_DAY]
        return np.bincount(rows, minlength=self.num_candidates)


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


class NeighbourScorer:
    """Scores each query by the neighbours of its profile, or by popularity if it has none.

    Attributes:
        positions: `profile_positions` of all queries.
        neighbours: `[num_candidates, num_candidates]` those of each candidate of a profile.
        fallback: scores the queries without a profile.
    """

    def __init__(
        self,
        positions: sparse.csr_matrix,
        neighbours: sparse.csr_matrix,
        fallback: corpus_ranking.Scorer,
    ) -> None:
        self.positions = positions
        self.neighbours = neighbours
        self.fallback = fallback

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]`."""
        return np.asarray(self.sparse(queries).todense())

    def sparse(self, queries: NDArray[np.int64]) -> sparse.csr_matrix:
        """See `SparseScorer.sparse`."""
        profiles = self.positions[queries]
        profiles.data = np.ones_like(profiles.data)
        scores = profiles @ self.neighbours
        without = np.flatnonzero(np.diff(profiles.indptr) == 0)
        if not len(without):
            return scores
        popular = sparse.csr_matrix(self.fallback(queries[without]))
        places = np.arange(len(queries))
        places[without] = len(queries) + np.arange(len(without))
        return sparse.vstack([scores, popular], format="csr")[places]
