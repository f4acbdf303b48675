"""The tables of `comparison.json` as rows, for Markdown, a terminal and the page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tfrs_twotower.evaluation.labels import label


@dataclass(frozen=True)
class ComparisonRow:
    """One system of one run.

    Attributes:
        run: name of the run.
        label: what people call the run; empty for baselines, unless several runs fitted them
            differently.
        system: name of the system.
        is_model: False for a baseline.
        is_reference: whether others are tested against this run.
        figures: mean, deviation and values by seed of each key metric.
        tests: of each key metric, the test against the reference; empty for the reference itself
            and for baselines.
        best: the key metrics in which no system has a higher mean.
    """

    run: str
    label: str
    system: str
    is_model: bool
    is_reference: bool
    figures: dict[str, dict[str, Any]]
    tests: dict[str, dict[str, Any]]
    best: frozenset[str]

    @property
    def marks(self) -> dict[str, str]:
        """Against the reference: `+` significantly better, `-` worse, `=` neither."""
        return {
            metric: "=" if not test["significant"] else "+" if test["difference"] > 0 else "-"
            for metric, test in self.tests.items()
        }


def comparison_rows(table: dict[str, Any]) -> list[ComparisonRow]:
    """Rows of one table: the runs in their given order, then the baselines, best first."""
    metrics = table["metrics"]
    tests: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for entry in table["tests"]["runs"]:
        key = (entry["a"]["run"], entry["a"]["system"])
        tests.setdefault(key, {})[entry["metric"]] = entry
    one_set = len(fitted_by(table)) < 2
    top = {m: max(s["metrics"][m]["mean"] for s in table["systems"]) for m in metrics}
    return [
        ComparisonRow(
            run=system["run"],
            label="" if system["kind"] == "baseline" and one_set else system["label"],
            system=system["system"],
            is_model=system["kind"] == "model",
            is_reference=system["kind"] == "model" and system["run"] == table["reference"],
            figures={metric: system["metrics"][metric] for metric in metrics},
            tests=tests.get((system["run"], system["system"]), {}),
            best=frozenset(m for m in metrics if system["metrics"][m]["mean"] == top[m]),
        )
        for system in table["systems"]
    ]


def label_of(table: dict[str, Any], run: str) -> str:
    """What people call a run."""
    return str(next(system["label"] for system in table["systems"] if system["run"] == run))


def fitted_by(table: dict[str, Any]) -> set[str]:
    """Names of the runs that fitted the table's baselines."""
    return {system["run"] for system in table["systems"] if system["kind"] == "baseline"}


def best_first(rows: list[ComparisonRow]) -> list[ComparisonRow]:
    """By the sum of the key metrics' means, as the leaderboard of one run."""
    return sorted(rows, key=lambda row: -sum(figure["mean"] for figure in row.figures.values()))


def tested(
    table: dict[str, Any], family: str
) -> Iterator[tuple[str, str, dict[str, dict[str, Any]]]]:
    """Each pair of a family: both sides in words, and the entry of each metric."""
    names = {system["run"]: system["label"] for system in table["systems"]}
    kinds = {(s["run"], s["system"]): s["kind"] for s in table["systems"]}
    pairs: dict[tuple[str, str, str, str], dict[str, dict[str, Any]]] = {}
    for entry in table["tests"][family]:
        sides = [side[key] for side in (entry["a"], entry["b"]) for key in ("run", "system")]
        pairs.setdefault((sides[0], sides[1], sides[2], sides[3]), {})[entry["metric"]] = entry

    def in_words(run: str, system: str) -> str:
        # A first stage that is shared with the reference has no row, and so no kind.
        if kinds.get((run, system)) == "baseline" and len(fitted_by(table)) < 2:
            return label(system)
        return f"{names[run]}, {label(system)}"

    for (a_run, a_system, b_run, b_system), entries in pairs.items():
        yield in_words(a_run, a_system), in_words(b_run, b_system), entries
