"""Prints the results of a comparison of runs."""

from pathlib import Path

from rich.table import Table

from pipelines.cli.arguments import output_console
from pipelines.cli.printing import print_advice
from pipelines.comparing.comparing import DOCUMENT, MARKDOWN, PAGE
from tfrs_twotower.evaluation.comparison import comparison_document, comparison_tables
from tfrs_twotower.evaluation.systems import label

_MARKS = {"ahead": "+", "behind": "-", "level": "=", "untested": " "}


def comparison_as_json(
    document: comparison_document.ComparisonDocument, root: Path
) -> dict[str, object]:
    """What `compare --json` prints: where the files are, and the leaderboards, best first."""
    return {
        "comparison": str(root / DOCUMENT),
        "markdown": str(root / MARKDOWN),
        "page": str(root / PAGE),
        "seeds": document.seeds,
        "leaderboards": [
            {
                "dataset": table.dataset,
                "reference": table.reference,
                "verdicts": {run: one.as_json() for run, one in table.verdicts.items()},
                "systems": [
                    _row_as_json(row)
                    for row in comparison_tables.best_first(
                        comparison_tables.comparison_rows(table)
                    )
                ],
            }
            for table in document.tables
        ],
    }


def _row_as_json(row: comparison_tables.ComparisonRow) -> dict[str, object]:
    return {
        "run": row.run,
        "system": row.system,
        "metrics": {
            metric: {"mean": figure.mean, "sd": figure.sd} for metric, figure in row.figures.items()
        },
        "p_holm": {metric: test.both.p_holm for metric, test in row.tests.items()},
    }


def print_comparison(document: comparison_document.ComparisonDocument, root: Path) -> None:
    """Prints each leaderboard with deviations and marks, and where the page is."""
    console = output_console()
    num_seeds = len(document.seeds)
    for table in document.tables:
        rows = comparison_tables.best_first(comparison_tables.comparison_rows(table))
        seeds = "one seed" if num_seeds == 1 else f"{num_seeds} seeds"
        shown = Table(title=f"{table.dataset}: test queries, full catalogue, {seeds}", box=None)
        for column in ("run", "system"):
            shown.add_column(column)
        for metric in table.metrics:
            shown.add_column(metric, justify="right")
        for row in rows:
            cells = []
            for metric, figure in row.figures.items():
                sd = "        " if figure.sd is None else f" ±{figure.sd:.4f}"
                mark = _MARKS[row.standings.get(metric, "untested")]
                cells.append(f"{figure.mean:.4f}{sd} {mark}")
            style = "bold" if row.is_reference else None
            shown.add_row(row.label, label(row.system), *cells, style=style)
        console.print()
        console.print(shown)
        console.print("± is the standard deviation over seeds.")
        if table.tests.runs and num_seeds > 1:
            console.print(
                "+ significantly better than "
                f"{comparison_tables.label_of(table, table.reference)}, - worse, = neither "
                "(paired tests over queries\nand over seeds, Holm's correction)."
            )
        console.print("Against the leading baselines:")
        for line in comparison_tables.verdict_lines(table):
            console.print(f"  {line}", soft_wrap=True)
        print_advice(console, comparison_tables.advice(table))
    console.print(f"\nReport: {root / PAGE}")
