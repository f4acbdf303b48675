"""The page of a comparison: one HTML file that needs nothing else."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tfrs_twotower.evaluation.comparison_markdown import decimal, probability
from tfrs_twotower.evaluation.comparison_rows import (
    ComparisonRow,
    best_first,
    comparison_rows,
    label_of,
    tested,
)
from tfrs_twotower.evaluation.labels import label
from tfrs_twotower.evaluation.pictures.seed_dots import draw_seeds
from tfrs_twotower.evaluation.templates import inline, render

FAMILIES = {
    "runs": "Further runs against the reference",
    "stages": "Within a run, against retrieval",
    "baselines": "Against the leading baselines",
}


@dataclass(frozen=True)
class TestedPair:
    """A line of a tests table: who against whom, and the entry of each key metric."""

    a: str
    b: str
    entries: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Section:
    """One table of the comparison, ready to show.

    Attributes:
        table: from `comparison.json`.
        headline: the result in a sentence.
        reference: label of the run that others are tested against.
        rows: best first.
        scale: of each key metric, the end of the bars.
        picture: every seed of every run.
        tests: lines of each family that is not empty, by its title.
        runs: entries of `runs` that stand in this table.
        seconds: mean over seeds of each stage's duration, by run.
        stages: names of the stages that recorded a duration, in order.
    """

    table: dict[str, Any]
    headline: str
    reference: str
    rows: list[ComparisonRow]
    scale: dict[str, float]
    picture: Markup | None
    tests: dict[str, list[TestedPair]]
    runs: list[dict[str, Any]]
    seconds: dict[str, dict[str, float]]
    stages: list[str]


def render_comparison(document: dict[str, Any]) -> str:
    """The page of a `comparison.json` as HTML text, with its style and pictures inside."""
    return render(
        "comparison.html",
        document=document,
        num_seeds=len(document["seeds"]),
        sections=[_section(table, document) for table in document["tables"]],
        decimal=decimal,
        probability=probability,
    )


def _section(table: dict[str, Any], document: dict[str, Any]) -> Section:
    given = comparison_rows(table)
    rows = best_first(given)
    names = dict.fromkeys(row.run for row in given if row.is_model)
    timings = {name: document["timings"][name] for name in names}
    stages = {stage: None for seeds in timings.values() for s in seeds.values() for stage in s}
    return Section(
        table=table,
        headline=headline(table, rows, len(document["seeds"])),
        reference=label_of(table, table["reference"]),
        rows=rows,
        scale={m: max(row.figures[m]["mean"] for row in rows) or 1.0 for m in table["metrics"]},
        picture=inline(draw_seeds(given)),
        tests={
            title: [TestedPair(*pair) for pair in tested(table, family)]
            for family, title in FAMILIES.items()
            if table["tests"][family]
        },
        runs=[run for run in document["runs"] if run["name"] in names],
        seconds={
            name: {
                stage: sum(s.get(stage, 0.0) for s in seeds.values()) / len(seeds)
                for stage in stages
            }
            for name, seeds in timings.items()
        },
        stages=list(stages),
    )


def headline(table: dict[str, Any], rows: list[ComparisonRow], num_seeds: int) -> str:
    """Which run is ahead of the reference in the longest list's recall, and whether surely.

    Args:
        table: from `comparison.json`.
        rows: of the table, best first.
        num_seeds: of each run.
    """
    metric = table["metrics"][-1]
    models = [row for row in rows if row.is_model]
    best = max(models, key=lambda row: row.figures[metric]["mean"])
    figure = best.figures[metric]
    text = f"{best.label} ({label(best.system)}) has the highest {metric}, "
    text += decimal(figure["mean"])
    if figure["sd"] is not None:
        text += f" \N{PLUS-MINUS SIGN} {decimal(figure['sd'])} over {num_seeds} seeds"
    if best.is_reference:
        others = len({row.run for row in models}) - 1
        if others and num_seeds > 1:
            worse = len({row.run for row in models if row.marks.get(metric) == "-"})
            text += f"; {worse or 'none'} of {others} other runs significantly worse"
        return text + "."
    test = best.tests.get(metric)
    if test is None or num_seeds == 1:
        return text + "."
    verdict = "a significant difference" if test["significant"] else "no significant difference"
    reference = label_of(table, table["reference"])
    return (
        f"{text}: {decimal(abs(test['difference']))} more than {reference}, "
        f"{verdict} (p {probability(test['both']['p_holm'])} after Holm)."
    )
