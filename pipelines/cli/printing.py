"""Prints results: leaderboards, comparisons, recommendations."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from pipelines.cli.arguments import output_console
from pipelines.comparing.comparing import DOCUMENT, MARKDOWN, PAGE
from pipelines.stages.context import StageContext
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.data.lines import shown
from tfrs_twotower.evaluation.comparison import comparison_document, comparison_tables
from tfrs_twotower.evaluation.report import report_files
from tfrs_twotower.evaluation.report.leaderboard import leaderboard
from tfrs_twotower.evaluation.systems import label
from tfrs_twotower.evaluation.verdict import against_each, badge, verdict_of

_MARKS = {"ahead": "+", "behind": "-", "level": "=", "untested": " "}


def print_leaderboard(layout: Layout) -> None:
    """Prints every system's key metrics, best first, and how the model stands against each.

    The last lines are the settings that would mend it where the model is behind.
    """
    document = report_files.read_evaluation(layout.report)
    rows = leaderboard(document, document.protocol.ks)
    console = output_console()
    table = Table(title=f"{document.dataset}: test queries, full catalogue", box=None)
    table.add_column("system")
    for metric in rows[0].figures:
        table.add_column(metric, justify="right")
    for row in rows:
        cells = []
        for figure in row.figures.values():
            low, high = figure.ci95
            cells.append(f"{figure.mean:.4f} ±{(high - low) / 2:.3f}")
        table.add_row(row.system, *cells, style="bold" if row.is_model else None)
    console.print()
    console.print(table)
    console.print("± is half of the 95 % bootstrap interval over queries; the model is bold.")
    verdict = verdict_of(document)
    console.print(f"Verdict: {badge(verdict)} (paired test over queries, Holm's correction).")
    # One line, however narrow the terminal is: it is copied and searched for.
    console.print(against_each(verdict), soft_wrap=True)
    console.print(f"Leakage check: {document.leakage_check.verdict}.")
    for finding in document.leakage_check.findings:
        console.print(f"  {finding.count} {finding.message}")
    _print_advice(console, verdict.advice)


def _print_advice(console: Console, advice: Sequence[str]) -> None:
    if advice:
        console.print("What to try next:")
    for step in advice:
        console.print(f"  - {step}", soft_wrap=True)


def verdict_as_json(layout: Layout) -> JsonValue:
    """The verdict of a report, as `evaluation.json` has it."""
    return verdict_of(report_files.read_evaluation(layout.report)).as_json()


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
        _print_advice(console, comparison_tables.advice(table))
    console.print(f"\nReport: {root / PAGE}")


def print_recommendations(context: StageContext) -> None:
    """Prints ten recommendations of the first bundle to one query, beside its history."""
    from pipelines.stages.demonstration import recommend_to_one_query

    bundle = context.config.export.bundles[0].name
    recommended = recommend_to_one_query(context, bundle)
    console = output_console()
    about = ", ".join(f"{name} {value}" for name, value in recommended.features.items())
    console.print(shown(f"\nQuery {recommended.query_id}" + (f" ({about})" if about else "")))
    table = Table(box=None)
    table.add_column("latest choices", max_width=44, no_wrap=True)
    table.add_column("")
    table.add_column("recommended", max_width=44, no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("")
    answers = zip(recommended.titles, recommended.scores, recommended.relevant, strict=True)
    for past, answer in zip_longest(recommended.history, answers):
        title, score, relevant = answer or ("", None, False)
        table.add_row(
            shown(past or ""),
            "",
            shown(title),
            "" if score is None else f"{score:.3f}",
            "chosen later" if relevant else "",
        )
    console.print(table)
    console.print(f"answered by bundle {bundle}, version {recommended.model_version}")


def print_bundle_agreement(context: StageContext) -> None:
    """Prints which share of each further bundle's answers equals the first bundle's."""
    from pipelines.stages.demonstration import agreement_of_bundles

    first, *others = [bundle.name for bundle in context.config.export.bundles]
    for other in others:
        share = agreement_of_bundles(context, first, other)
        output_console().print(
            f"bundles {first} and {other}: {share:.2%} of their answers are the same"
        )
