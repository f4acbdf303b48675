"""What a billion interactions and 100M candidates would take, computed from what was measured.

Nothing here was run. Every figure is a measured one times a number that stands beside it.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.scaling import table

INTERACTIONS, CANDIDATES = 10**9, 10**8
MACHINE_BYTES = 64 * 10**9
DIM = 64
"""Of the towers, as in the benchmark of a million candidates."""
COPIES_IN_TRAINING = 3
"""The weights and two moments of AdamW."""
MOST_MS = 5.0
"""Of one query's p50 on a shard."""
QUERIES_PER_S = 10_000
_SPREAD = {"preprocess": "Beam workers", "embed": "Beam workers", "train": "data-parallel workers"}


@dataclass(frozen=True)
class Served:
    """A served cascade over a million candidates, from docs/results.md."""

    p50_ms: float
    search_ms: float
    """Of them in the search, which looks at a fixed share of the corpus."""
    index_mb: float
    heads_mb: float


def read_served(results: Path) -> dict[str, Served]:
    """The measured cascades `scann` and `ivf`.

    Raises:
        ValueError: the tables have another form.
    """
    text = results.read_text(encoding="utf-8")
    part = text.partition("<!-- million_candidates: begin -->")[2]
    rows: dict[str, list[dict[str, str]]] = {"scann": [], "ivf": []}
    heading: list[str] = []
    for line in part.partition("<!-- million_candidates: end -->")[0].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not cells[0] or "p50" in cells[0]:
            heading = cells
        elif cells[0] in rows:
            rows[cells[0]].append(dict(zip(heading, cells, strict=True)))
    if any(len(found) != 2 for found in rows.values()):
        raise ValueError(f"{results}: expected scann and ivf in the first two tables of a million")
    return {
        name: Served(
            float(whole["p50 ms"]),
            float(parts["search alone"]),
            *(float(whole[size].replace(",", "")) for size in ("index MB", "heads MB")),
        )
        for name, (whole, parts) in rows.items()
    }


def render(measured: table.Measured, served: dict[str, Served]) -> str:
    """Both tables, and the sums in words."""
    return "\n".join(
        [*_stages(measured), "", *_first(measured), "", *_tables(), "", *_serving(served)]
    )


def _stages(measured: table.Measured) -> list[str]:
    head = (
        "stage", "CPU seconds for one more million", "CPU hours for a billion",
        "with the growth measured", "spread over", "for one hour", "writes",
    )  # fmt: skip
    lines = [_row(head), _row(["---", *["---:"] * 3, "---", "---:", "---:"])]
    for stage in table.STAGES:
        sizes = [size for size in measured if stage in measured[size]]
        if len(sizes) < 2:
            continue
        first, second = sizes[-2:]
        low, high = (measured[size][stage].cpu_s for size in (first, second))
        millions = (second.interactions - first.interactions) / 1e6
        rate = (high - low) / millions
        difference = f"({high:,.1f} - {low:,.1f}) / {millions:g}"
        if rate <= 0:
            lines.append(_row([stage, f"{difference}: lost in the start of Python", *[""] * 5]))
            continue
        hours = rate * INTERACTIONS / 1e6 / 3600
        factor = INTERACTIONS / second.interactions
        beyond = max((table.per_doubling(measured, stage) or 2.0) / 2.0, 1.0)
        grown = hours * beyond ** math.log2(factor)
        lines.append(
            _row([
                stage,
                f"{difference} = {rate:,.1f}",
                f"{rate:,.1f} x 1,000 / 3,600 = {hours:,.1f}",
                f"{grown:,.1f}",
                _SPREAD.get(stage, "nothing: one process"),
                f"{math.ceil(grown):,} cores" if stage in _SPREAD else "",
                _bytes(measured[second][stage].written_bytes * factor),
            ])
        )  # fmt: skip
    return lines


def _first(measured: table.Measured) -> list[str]:
    """The memory of one process, in the order in which the stages fill a machine."""
    head = ["one process of", "bytes for one more interaction", f"fills {_bytes(MACHINE_BYTES)} at"]
    found = []
    for stage in table.STAGES:
        sizes = [size for size in measured if stage in measured[size]]
        if len(sizes) < 2:
            continue
        first, second = sizes[-2:]
        low, high = (measured[size][stage].peak_bytes for size in (first, second))
        slope = (high - low) / (second.interactions - first.interactions)
        full = math.inf
        if slope > 0:
            full = second.interactions + (MACHINE_BYTES - high) / slope
        of = f"({_bytes(high)} - {_bytes(low)}) / {second.interactions - first.interactions:,}"
        found.append((full, [stage, f"{of} = {slope:,.0f}", _interactions(full)]))
    rows = [_row(cells) for _, cells in sorted(found, key=lambda entry: entry[0])]
    return [_row(head), _row(["---", "---:", "---:"]), *rows]


def _interactions(number: float) -> str:
    return "no size that was measured tells" if math.isinf(number) else f"{number / 1e6:,.0f}M"


def _tables() -> list[str]:
    vectors = CANDIDATES * DIM * 4
    return [
        f"Vectors: {CANDIDATES:,} x {DIM} x 4 bytes = {_bytes(vectors)}. A table of candidate ids "
        f"in training, with the moments of AdamW: x {COPIES_IN_TRAINING} = "
        f"{_bytes(vectors * COPIES_IN_TRAINING)} in every worker, because tables are not divided."
    ]  # fmt: skip


def _serving(served: dict[str, Served]) -> list[str]:
    head = (
        "served cascade", "p50 of a shard of S million", "S for 5 ms", "shards",
        "memory of a shard", f"cores for {QUERIES_PER_S:,} queries/s",
    )  # fmt: skip
    lines = [_row(head), _row(["---", "---:", "---:", "---:", "---:", "---:"])]
    for name, cascade in served.items():
        size = max(1, math.floor(1 + (MOST_MS - cascade.p50_ms) / cascade.search_ms))
        shards = math.ceil(CANDIDATES / 1e6 / size)
        p50 = cascade.p50_ms + cascade.search_ms * (size - 1)
        memory = (cascade.index_mb + cascade.heads_mb) * size * 1e6
        cores = math.ceil(QUERIES_PER_S * p50 / 1000 * shards)
        lines.append(
            _row([
                name,
                f"{cascade.p50_ms:.2f} + {cascade.search_ms:.2f} (S - 1) ms",
                f"{size}",
                f"{shards}",
                f"{size} x ({cascade.index_mb:,.0f} + {cascade.heads_mb:,.0f}) MB = "
                f"{_bytes(memory)}",
                f"{QUERIES_PER_S:,} x {p50:.2f} ms x {shards} = {cores:,}",
            ])
        )  # fmt: skip
    return lines


def _bytes(number: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if number >= unit:
            return f"{number / unit:,.1f} {name}"
    return f"{number / 1e3:,.1f} kB"


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"
