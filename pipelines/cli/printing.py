"""Prints the results of a run: its leaderboard, recommendations of its bundles."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from pipelines.cli.arguments import output_console
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.data.lines import shown
from tfrs_twotower.evaluation.report import report_files
from tfrs_twotower.evaluation.report.leaderboard import leaderboard
from tfrs_twotower.evaluation.verdict import against_each, badge, verdict_of

if TYPE_CHECKING:
    from pipelines.stages.context import StageContext


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
        console.print(f"  {finding.count:,} {finding.message}")
    print_advice(console, verdict.advice)


def print_advice(console: Console, advice: Sequence[str]) -> None:
    """Prints settings that would mend what the model is behind in."""
    if advice:
        console.print("What to try next:")
    for step in advice:
        console.print(f"  - {step}", soft_wrap=True)


def verdict_as_json(layout: Layout) -> JsonValue:
    """The verdict of a report, as `evaluation.json` has it."""
    return verdict_of(report_files.read_evaluation(layout.report)).as_json()


def print_recommendations(context: "StageContext") -> None:
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


def print_bundle_agreement(context: "StageContext") -> None:
    """Prints which share of each further bundle's answers equals the first bundle's."""
    from pipelines.stages.demonstration import agreement_of_bundles

    first, *others = [bundle.name for bundle in context.config.export.bundles]
    for other in others:
        share = agreement_of_bundles(context, first, other)
        output_console().print(
            f"bundles {first} and {other}: {share:.2%} of their answers are the same"
        )
