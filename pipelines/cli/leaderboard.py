"""Prints the leaderboard of an evaluation."""

import json

from rich.table import Table

from pipelines.cli.screen import output_console
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.artifacts.layout import EVALUATION
from tfrs_twotower.evaluation.leaderboard import leaderboard, model_stages


def print_leaderboard(layout: Layout) -> None:
    """Prints every system's key metrics with 95 % intervals, best first."""
    document = json.loads((layout.report / EVALUATION).read_text(encoding="utf-8"))
    rows = leaderboard(document, tuple(document["protocol"]["ks"]))
    stages = model_stages(document)
    console = output_console()
    table = Table(title=f"{document['dataset']}: test queries, full catalogue", box=None)
    table.add_column("system")
    for metric in rows[0].figures:
        table.add_column(metric, justify="right")
    for row in rows:
        cells = []
        for metric, figure in row.figures.items():
            low, high = figure["ci95"]
            mark = row.marks[metric].ljust(len(stages))
            cells.append(f"{figure['mean']:.4f} ±{(high - low) / 2:.3f} {mark}")
        table.add_row(row.system, *cells, style="bold" if row.is_model else None)
    console.print()
    console.print(table)
    beside = (
        "After a system, first for the cascade, then for retrieval:"
        if "cascade" in stages
        else "After a baseline, for retrieval:"
    )
    console.print(
        "± is half of the 95 % bootstrap interval over queries.\n"
        f"{beside}\n"
        "+ significantly better than it, - significantly worse, = neither\n"
        "(paired test, Holm's correction)."
    )
    leakage = document["leakage_check"]
    console.print(f"Leakage check: {leakage['verdict']}.")
    for finding in leakage["findings"]:
        console.print(f"  {finding['count']} {finding['message']}")
