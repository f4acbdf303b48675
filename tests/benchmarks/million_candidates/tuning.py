"""The least effort that finds enough: the same rule for every index."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tests.benchmarks.million_candidates.measuring import Clock, shared
from tests.benchmarks.million_candidates.re_scoring import Rows
from tests.benchmarks.million_candidates.world import Floats

LISTED = 100
"""Overlap is measured on the first so many of a retrieved list."""
THREADS = min(2, len(os.sched_getaffinity(0)))
"""Of a peer, while it is built and while it answers a batch; one, where there is one core."""
_QUERIES_AT_ONCE = 50
_TIMED = 40
_ROUNDS = 5
_NEAR = 1.05


class Retriever(Protocol):
    """A built index."""

    def set(self, effort: Any, threads: int) -> None:
        """Chooses how much is looked at, and by how many threads."""

    def find(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        """Rows and inner products `[len(queries), k]`, best first."""

    def save(self, path: Path) -> None:
        """Writes it to a file."""


@dataclass(frozen=True)
class Tuned:
    """What was chosen."""

    effort: Any
    threads: int
    """Of a single query."""


def overlap(found: Retriever, queries: Floats, exact: Rows, depth: int) -> float:
    """Mean overlap@LISTED: the share of each query's exact neighbours at the head of its list.

    Args:
        found: asked for `depth` candidates a query.
        queries: `[num_queries, dim]`.
        exact: `[num_queries, LISTED]` of exact search.
        depth: list length, at least LISTED.
    """
    starts = range(0, len(queries), _QUERIES_AT_ONCE)
    lists = [found.find(queries[at : at + _QUERIES_AT_ONCE], depth)[0] for at in starts]
    return shared(np.concatenate(lists)[:, :LISTED], exact)


def tune(
    index: Retriever,
    efforts: Sequence[Any],
    queries: Floats,
    exact: Rows,
    *,
    depth: int,
    target: float,
    threads: Sequence[int],
    clock: Clock,
) -> Tuned:
    """The least effort of the quickest whose overlap reaches the target; the best where none does.

    Those that reach it take turns. Costs are lower quartiles of the time of single queries, which
    other load disturbs least, and of these the median over turns; those within a twentieth of the
    quickest count as equal.

    Args:
        index: what is tuned.
        efforts: to try, least first.
        queries: `[num_queries, dim]`, none of which is measured afterwards.
        exact: `[num_queries, LISTED]` of exact search.
        depth: length of the retrieved lists.
        target: least overlap.
        threads: numbers of threads to try.
        clock: what costs are read from.
    """
    tried = []
    for effort in efforts:
        index.set(effort, max(threads))
        tried.append(overlap(index, queries, exact, depth))
    enough = [effort for effort, reached in zip(efforts, tried, strict=True) if reached >= target]
    if not enough:
        enough = [efforts[int(np.argmax(tried))]]
    choices = [(effort, number) for effort in enough for number in threads]
    times: dict[int, list[float]] = {place: [] for place in range(len(choices))}
    for _ in range(_ROUNDS):
        for place, (effort, number) in enumerate(choices):
            index.set(effort, number)
            times[place].append(_ms(index, queries, depth, clock))
    costs = [statistics.median(times[place]) for place in range(len(choices))]
    return Tuned(
        *next(one for one, ms in zip(choices, costs, strict=True) if ms <= _NEAR * min(costs))
    )


def _ms(index: Retriever, queries: Floats, depth: int, clock: Clock) -> float:
    durations = []
    for place in range(min(_TIMED, len(queries))):
        started = clock()
        index.find(queries[place : place + 1], depth)
        durations.append(clock() - started)
    return 1e3 * float(np.quantile(durations, 0.25))
