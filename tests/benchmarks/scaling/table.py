"""What the stages took at each size, as Markdown and as a picture."""

import math
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.scaling.measuring import Taken

STAGES = ("preprocess", "train", "embed", "build-index", "export", "evaluate")
MOST_PER_DOUBLING = 2.2
MOST_BYTES = 6 * 10**9
_TELLING = 10**6
_TOO_SMALL = (
    "These sizes are small: they differ by little more than the start of Python varies, so that "
    "what is computed from them says little. Measure a million interactions and more."
)


@dataclass(frozen=True)
class Size:
    """A size of `twotower dataset synthetic`."""

    interactions: int
    candidates: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Takes `INTERACTIONS/CANDIDATES`.

        Raises:
            ValueError: it is not two numbers.
        """
        interactions, candidates = (int(part.replace("_", "")) for part in text.split("/"))
        return cls(interactions, candidates)

    def __str__(self) -> str:
        return f"{_short(self.interactions)} / {_short(self.candidates)}"


Measured = dict[Size, dict[str, Taken]]
"""By size, ascending, and by stage; a stage that failed, or was not reached, is not there."""


def per_doubling(measured: Measured, stage: str) -> float | None:
    """The factor of CPU seconds for twice the data, between the two largest sizes that have it."""
    sizes = [size for size in measured if stage in measured[size]]
    if len(sizes) < 2:
        return None
    first, second = sizes[-2:]
    doublings = math.log2(second.interactions / first.interactions)
    growth = measured[second][stage].cpu_s / measured[first][stage].cpu_s
    return float(growth ** (1 / doublings))


def render(measured: Measured) -> str:
    """The table: CPU seconds and peak memory of each stage at each size."""
    head = ["stage", *(f"{size}: CPU s, GB" for size in measured), "twice the data"]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for stage in STAGES:
        cells = [_cell(measured[size].get(stage)) for size in measured]
        ratio = per_doubling(measured, stage)
        lines.append(_row([stage, *cells, "" if ratio is None else _ratio(ratio)]))
    sums = [_sum(measured[size]) for size in measured]
    lines.append(_row(["sum, and the largest", *sums, ""]))
    if max(size.interactions for size in measured) < _TELLING:
        lines += ["", _TOO_SMALL]
    return "\n".join(lines) + "\n"


def _sum(stages: dict[str, Taken]) -> str:
    if len(stages) < len(STAGES):
        return "not whole"
    peak = max(taken.peak_bytes for taken in stages.values())
    return f"{sum(taken.cpu_s for taken in stages.values()):,.0f}, {peak / 1e9:.1f}"


def _cell(taken: Taken | None) -> str:
    if taken is None:
        return "failed"
    memory = f"{taken.peak_bytes / 1e9:.1f}"
    return f"{taken.cpu_s:,.0f}, {_marked(memory, taken.peak_bytes > MOST_BYTES)}"


def _ratio(ratio: float) -> str:
    return _marked(f"{ratio:.2f}", round(ratio, 2) > MOST_PER_DOUBLING)


def _marked(text: str, missed: bool) -> str:
    return f"**{text}**" if missed else text


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _short(number: int) -> str:
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return str(number)


def draw(measured: Measured, path: Path) -> None:
    """Writes the picture: both figures against the interactions, both axes logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "scaling"  # the same figures give the same file
    figure, (seconds, memory) = pyplot.subplots(1, 2, figsize=(10, 4.2))
    for stage in STAGES:
        sizes = [size for size in measured if stage in measured[size]]
        numbers = [size.interactions for size in sizes]
        taken = [measured[size][stage] for size in sizes]
        seconds.plot(numbers, [one.cpu_s for one in taken], marker="o", label=stage)
        memory.plot(numbers, [one.peak_bytes / 1e9 for one in taken], marker="o", label=stage)
    for axes, title in ((seconds, "CPU seconds"), (memory, "peak memory, GB")):
        axes.set(xscale="log", yscale="log", xlabel="interactions", title=title)
        axes.grid(visible=True, which="major", alpha=0.3)
    memory.axhline(MOST_BYTES / 1e9, color="grey", linestyle="--", linewidth=1)
    seconds.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
