"""The search for a baseline's best setting, for each metric by itself.

A setting is one value on each axis, such as the weight of a penalty. The search starts on a grid,
and for each metric goes on until no neighbour of its best setting is better; it goes beyond the
ends of the grid, so that a best value does not lie at an edge.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

Setting = tuple[float, ...]
"""One value for each axis; whole numbers are ints."""


@dataclass(frozen=True)
class Axis:
    """One part of a setting.

    Attributes:
        name: its name in the report.
        values: values to choose from, ascending; from them the search starts.
        ratio: step beyond both ends of the values; None if there is nothing beyond them.
        lowest: end of the axis.
        highest: end of the axis.
    """

    name: str
    values: tuple[float, ...]
    ratio: float | None = None
    lowest: float = 0.0
    highest: float = math.inf

    @classmethod
    def given(
        cls, name: str, values: float | tuple[float, ...], *, lowest: float, highest: float
    ) -> "Axis":
        """The axis of a setting for which a config has one value, which stays, or several."""
        if not isinstance(values, tuple):
            return cls(name, (values,))
        inside = tuple(sorted({min(max(value, lowest), highest) for value in values}))
        return cls(name, inside, 2.0 if len(set(values)) > 1 else None, lowest, highest)

    def neighbours(self, value: float) -> Iterator[float]:
        """The next values below and above."""
        inside = self.values[0] <= value <= self.values[-1]
        below = [other for other in self.values if other < value]
        above = [other for other in self.values if other > value]
        if inside and below:
            yield below[-1]
        elif self.ratio is not None:
            yield from self._moved(value, 1.0 / self.ratio)
        if inside and above:
            yield above[0]
        elif self.ratio is not None:
            yield from self._moved(value, self.ratio)

    def _moved(self, value: float, factor: float) -> Iterator[float]:
        whole = isinstance(value, int)
        moved = round(value * factor) if whole else float(f"{value * factor:.6g}")
        moved = min(max(moved, self.lowest), self.highest)
        if moved != value:
            yield moved


class Choice(NamedTuple):
    """What validation decides about."""

    setting: Setting
    positives_only: bool
    """Whether the baseline learns from positive interactions only, or from all."""


@dataclass(frozen=True)
class Grid:
    """Where settings are searched, and for how long.

    Attributes:
        axes: the parts of a setting.
        most_tries: choices that are tried at most.
        most_chosen: choices that are kept at most; None keeps the best of every metric. Metrics
            that come later then take the best of what earlier ones chose.
    """

    axes: tuple[Axis, ...]
    most_tries: int = 24
    most_chosen: int | None = None

    def start(self) -> list[Setting]:
        """All combinations of the axes' values, or their middle if they are too many."""
        size = math.prod(len(axis.values) for axis in self.axes)
        if 2 * size > self.most_tries:
            return [self.middle()]
        return list(itertools.product(*(axis.values for axis in self.axes)))

    def middle(self) -> Setting:
        """The setting that is taken where there is nothing to choose on."""
        return tuple(axis.values[len(axis.values) // 2] for axis in self.axes)

    def neighbours(self, setting: Setting) -> Iterator[Setting]:
        """The settings that differ in one axis by one step."""
        for place, axis in enumerate(self.axes):
            for value in axis.neighbours(setting[place]):
                yield (*setting[:place], value, *setting[place + 1 :])

    @property
    def fixed(self) -> bool:
        """Whether there is one setting only."""
        return all(len(axis.values) == 1 and axis.ratio is None for axis in self.axes)

    def named(self, setting: Setting) -> dict[str, float]:
        """The values by the names of the axes."""
        return dict(zip((axis.name for axis in self.axes), setting, strict=True))


@dataclass(frozen=True)
class Tuning:
    """The outcome of a search.

    Attributes:
        best: the choice for each metric.
        tried: metrics of each choice on validation, in the order of the search.
        finished: whether every neighbour of a best setting was tried.
    """

    best: dict[str, Choice]
    tried: dict[Choice, dict[str, float]]
    finished: bool


def search(
    grid: Grid,
    kinds: list[bool],
    measure: Callable[[Choice], dict[str, float]],
    metrics: tuple[str, ...],
) -> Tuning:
    """Climbs from the starting grid to a setting without a better neighbour, for each metric.

    Args:
        grid: axes and limits.
        kinds: values of `Choice.positives_only` to choose from.
        measure: the metrics of a choice on validation.
        metrics: the most important first; it gets the first tries.
    """
    tried: dict[Choice, dict[str, float]] = {}
    best: dict[str, Choice] = {}

    def attempt(choice: Choice) -> None:
        tried[choice] = figures = measure(choice)
        for name in metrics:
            if name not in best or figures[name] > tried[best[name]][name]:
                best[name] = choice

    for setting in grid.start():
        for kind in kinds:
            attempt(Choice(setting, kind))
    while (following := _untried(grid, best, tried)) is not None and len(tried) < grid.most_tries:
        attempt(following)
    kept = list(dict.fromkeys(best.values()))[: grid.most_chosen]
    chosen = {}
    for name, choice in best.items():
        reached = {one: tried[one][name] for one in kept}
        chosen[name] = choice if choice in reached else max(reached, key=reached.__getitem__)
    return Tuning(chosen, tried, finished=following is None)


def _untried(
    grid: Grid, best: dict[str, Choice], tried: dict[Choice, dict[str, float]]
) -> Choice | None:
    """The first neighbour of a best setting that was not tried, in the order of the metrics."""
    for choice in best.values():
        for setting in grid.neighbours(choice.setting):
            neighbour = choice._replace(setting=setting)
            if neighbour not in tried:
                return neighbour
    return None
