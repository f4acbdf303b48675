"""Prints a comparison: one leaderboard for each data set."""

from pathlib import Path
from typing import Any

from rich.table import Table

from pipelines.cli.screen import output_console
from pipelines.comparing.results import DOCUMENT, MARKDOWN, PAGE
from tfrs_twotower.evaluation.comparison_rows import best_first, comparison_rows, label_of
from tfrs_twotower.evaluation.labels import label


def comparison_as_json(document: dict[str, Any], root: Path) -> dict[str, Any]:
    """What `compare --json` prints: where the files are, and the leaderboards, best first."""
    return {
        "comparison": str(root / DOCUMENT),
        "markdown": str(root / MARKDOWN),
        "page": str(root / PAGE),
        "seeds": document["seeds"],
        "leaderboards": [
            {
                "dataset": table["dataset"],
                "reference": table["reference"],
                "systems": [
                    {
                        "run": row.run,
                        "system": row.system,
                        "metrics": {
                            metric: {"mean": figure["mean"], "sd": figure["sd"]}
                            for metric, figure in row.figures.items()
                        },
                        "p_holm": {
                            metric: test["both"]["p_holm"] for metric, test in row.tests.items()
                        },
                    }
                    for row in best_first(comparison_rows(table))
                ],
            }
            for table in document["tables"]
        ],
    }


def print_comparison(document: dict[str, Any], root: Path) -> None:
    """Prints each leaderboard with deviations and marks, and where the page is."""
    console = output_console()
    num_seeds = len(document["seeds"])
    for table in document["tables"]:
        rows = best_first(comparison_rows(table))
        seeds = "one seed" if num_seeds == 1 else f"{num_seeds} seeds"
        shown = Table(title=f"{table['dataset']}: test queries, full catalogue, {seeds}", box=None)
        for column in ("run", "system"):
            shown.add_column(column)
        for metric in table["metrics"]:
            shown.add_column(metric, justify="right")
        for row in rows:
            cells = []
            for metric, figure in row.figures.items():
                sd = "        " if figure["sd"] is None else f" ±{figure['sd']:.4f}"
                cells.append(f"{figure['mean']:.4f}{sd} {row.marks.get(metric, ' ')}")
            style = "bold" if row.is_reference else None
            shown.add_row(row.label, label(row.system), *cells, style=style)
        console.print()
        console.print(shown)
        console.print("± is the standard deviation over seeds.")
        if table["tests"]["runs"] and num_seeds > 1:
            console.print(
                f"+ significantly better than {label_of(table, table['reference'])}, - worse, "
                "= neither (paired tests over queries\nand over seeds, Holm's correction)."
            )
    console.print(f"\nReport: {root / PAGE}")
