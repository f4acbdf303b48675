"""Fair times on a machine that others use: systems take turns, and ratios are taken in pairs."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Times:
    """Seconds of one step of one system, round by round."""

    wall: list[float]
    cpu: list[float]
    """Of all threads together; others on the machine disturb it less than the wall clock."""

    @property
    def wall_median(self) -> float:
        """Seconds by the clock."""
        return statistics.median(self.wall)

    @property
    def cpu_median(self) -> float:
        """Seconds of processor."""
        return statistics.median(self.cpu)


def measure(
    systems: Mapping[str, Callable[[], Any]], *, rounds: int, steps: int, warmup: int = 3
) -> dict[str, Times]:
    """Times every system in every round, in an order that rotates.

    All are in one process, so they share its threads, its allocator and the moment; a neighbour's
    load falls on all of them alike. The first steps (tracing, first allocations) are not timed.

    Args:
        systems: one step of each; returns when the step is done.
        rounds: how often all take their turn.
        steps: of a turn.
        warmup: steps before the first round.
    """
    for step in systems.values():
        for _ in range(warmup):
            step()
    names = list(systems)
    times = {name: Times([], []) for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(steps):
                systems[name]()
            times[name].wall.append((time.perf_counter() - wall) / steps)
            times[name].cpu.append((time.process_time() - cpu) / steps)
    return times


def compare(times: Mapping[str, Times], batch_size: int) -> dict[str, dict[str, float]]:
    """Examples per second, and how many times the first system's time each takes.

    The ratios are medians over rounds of the ratio inside a round.
    """
    own = next(iter(times.values()))
    return {
        name: {
            "examples_per_s": batch_size / of.wall_median,
            "wall_ms": 1e3 * of.wall_median,
            "cpu_ms": 1e3 * of.cpu_median,
            "wall_ratio": _ratio(of.wall, own.wall),
            "cpu_ratio": _ratio(of.cpu, own.cpu),
        }
        for name, of in times.items()
    }


def _ratio(of: list[float], own: list[float]) -> float:
    return statistics.median(theirs / ours for theirs, ours in zip(of, own, strict=True))
