"""Fair times on a machine that others use: systems take turns, and ratios are taken in pairs."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}
"""The second is seconds of all threads of this process, to which others hardly add."""
_UNTIMED = 3
_CALLS = 20


@dataclass(frozen=True)
class Times:
    """Seconds of calls of one system."""

    rounds: list[list[float]]
    """By round."""

    def quantile(self, share: float) -> float:
        """Of all calls, milliseconds."""
        return 1e3 * float(np.quantile(np.concatenate(self.rounds), share))

    def per_second(self) -> float:
        """Calls in a second of its own time."""
        return 1.0 / float(np.mean(np.concatenate(self.rounds)))

    def ratio(self, other: "Times") -> float:
        """Median over rounds of the ratio of the rounds' medians, own over other's."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(
            statistics.median(own) / statistics.median(theirs) for own, theirs in pairs
        )


def measure(
    systems: Mapping[str, Callable[[int], Any]],
    *,
    num_queries: int,
    rounds: int,
    clock: Clock = time.perf_counter,
) -> dict[str, Times]:
    """Times every system in every round, in an order that rotates.

    All are in one process, so that a neighbour's load falls on all of them alike. The first calls
    of a turn are not timed: they pay for caches, and for threads of the system before, which wait
    for work in a loop.

    Args:
        systems: answers one request by its number.
        num_queries: different requests.
        rounds: how often all take their turn.
        clock: what durations are read from.
    """
    names = list(systems)
    times = {name: Times([]) for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            durations = []
            for call in range(-_UNTIMED, _CALLS):
                number = (turn * _CALLS + call) % num_queries
                started = clock()
                systems[name](number)
                durations.append(clock() - started)
            times[name].rounds.append(durations[_UNTIMED:])
    return times


def shared(lists: npt.NDArray[np.int64], exact: npt.NDArray[np.int64]) -> float:
    """Mean share of each exact list that is in the other list; planted scores do not tie."""
    pairs = zip(lists, exact, strict=True)
    return float(np.mean([np.isin(wanted, found).mean() for found, wanted in pairs]))
