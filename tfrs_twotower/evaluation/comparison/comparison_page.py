"""The page of a comparison, one self-contained HTML file, and its picture of the seeds."""

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tfrs_twotower.evaluation.comparison import comparison_document, comparison_tables
from tfrs_twotower.evaluation.report.drawing import COLOUR, colour_of, style, to_svg
from tfrs_twotower.evaluation.report.rendering import decimal, inline, label, probability, render

_TEMPLATE = Path(__file__).with_name("comparison.html")
_MARKERS = {"retrieval": "o", "cascade": "D", "hybrid": "s"}
_FAMILIES = {
    "runs": "Further runs against the reference",
    "stages": "Within a run, against retrieval",
    "baselines": "Against the leading baselines",
}


@dataclass(frozen=True)
class Section:
    """One table of the comparison, as the page shows it.

    Attributes:
        table: a table of `comparison.json`.
        headline: the result in a sentence.
        reference: label of the run that others are tested against.
        rows: rows of the table, best first.
        scale: value at the end of the bars, by key metric.
        picture: figures of every seed of every run.
        tests: the pairs of each family that has tests, by its title.
        runs: the runs of this table.
        seconds: mean over seeds of each stage's duration, by run.
        stages: names of the stages that recorded a duration, in order.
    """

    table: comparison_document.ComparisonTable
    headline: str
    reference: str
    rows: list[comparison_tables.ComparisonRow]
    scale: dict[str, float]
    picture: Markup | None
    tests: dict[str, list[comparison_tables.ComparedPair]]
    runs: list[comparison_document.ComparedRun]
    seconds: dict[str, dict[str, float]]
    stages: list[str]


def render_comparison(document: comparison_document.ComparisonDocument) -> str:
    """The page of a `comparison.json` as HTML text, with its style and pictures inside."""
    return render(
        _TEMPLATE,
        document=document,
        num_seeds=len(document.seeds),
        sections=[_section(table, document) for table in document.tables],
        decimal=decimal,
        probability=probability,
    )


def _section(
    table: comparison_document.ComparisonTable, document: comparison_document.ComparisonDocument
) -> Section:
    given = comparison_tables.comparison_rows(table)
    rows = comparison_tables.best_first(given)
    names = dict.fromkeys(row.run for row in given if row.is_model)
    timings = {name: document.timings[name] for name in names}
    stages = {stage: None for seeds in timings.values() for s in seeds.values() for stage in s}
    return Section(
        table=table,
        headline=headline(table, rows, len(document.seeds)),
        reference=comparison_tables.label_of(table, table.reference),
        rows=rows,
        scale={m: max(row.figures[m].mean for row in rows) or 1.0 for m in table.metrics},
        picture=inline(draw_seeds(given)),
        tests=dict(comparison_tables.families(table, _FAMILIES)),
        runs=[run for run in document.runs if run.name in names],
        seconds={
            name: {
                stage: sum(s.get(stage, 0.0) for s in seeds.values()) / len(seeds)
                for stage in stages
            }
            for name, seeds in timings.items()
        },
        stages=list(stages),
    )


def headline(
    table: comparison_document.ComparisonTable,
    rows: list[comparison_tables.ComparisonRow],
    num_seeds: int,
) -> str:
    """The run with the highest recall in the longest list, and whether it is surely ahead.

    Args:
        table: a table of `comparison.json`.
        rows: rows of the table, best first.
        num_seeds: number of seeds of each run.
    """
    metric = table.metrics[-1]
    models = [row for row in rows if row.is_model]
    best = max(models, key=lambda row: row.figures[metric].mean)
    figure = best.figures[metric]
    text = f"{best.label} ({label(best.system)}) has the highest {metric}, "
    text += decimal(figure.mean)
    if figure.sd is not None:
        text += f" \N{PLUS-MINUS SIGN} {decimal(figure.sd)} over {num_seeds} seeds"
    if best.is_reference:
        others = len({row.run for row in models}) - 1
        if others and num_seeds > 1:
            worse = len({row.run for row in models if row.marks.get(metric) == "-"})
            text += f"; {worse or 'none'} of {others} other runs significantly worse"
        return text + "."
    test = best.tests.get(metric)
    if test is None or num_seeds == 1:
        return text + "."
    verdict = "a significant difference" if test.significant else "no significant difference"
    return (
        f"{text}: {decimal(abs(test.difference))} more than "
        f"{comparison_tables.label_of(table, table.reference)}, {verdict} "
        f"(p {probability(test.both.p_holm)} after Holm)."
    )


def draw_seeds(rows: list[comparison_tables.ComparisonRow]) -> str:
    """SVG with one panel for each key metric and one line for each system of each run.

    A dot is a seed, the upright bar the mean; the dotted line is the best baseline.
    """
    models = [row for row in rows if row.is_model]
    baselines = [row for row in rows if not row.is_model]
    metrics = list(models[0].figures)
    several = len({row.system for row in models}) > 1
    with style():
        figure = Figure(figsize=(10.4, 1.2 + 0.3 * len(models)), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            _draw_panel(axes, models, metric)
            _draw_baseline(axes, baselines, metric)
            axes.set_title(metric, loc="left", fontsize=11)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=5)
            axes.margins(x=0.08)
        names = [f"{row.label}, {label(row.system)}" if several else row.label for row in models]
        panels[0].set_yticks(range(len(models)), names, color=COLOUR["ink"])
        panels[0].set_ylim(len(models) - 0.4, -0.6)
        return to_svg(figure, "Every seed of every run, by metric")


def _draw_panel(axes: Axes, models: list[comparison_tables.ComparisonRow], metric: str) -> None:
    for place, row in enumerate(models):
        colour = colour_of(row.system)
        figure = row.figures[metric]
        by_seed = figure.by_seed
        axes.plot(
            by_seed,
            [place] * len(by_seed),
            _MARKERS[row.system],
            color=colour,
            markersize=5.5,
            alpha=0.55,
            markeredgewidth=0,
        )
        axes.plot([figure.mean] * 2, [place - 0.28, place + 0.28], color=colour, linewidth=2)


def _draw_baseline(
    axes: Axes, baselines: list[comparison_tables.ComparisonRow], metric: str
) -> None:
    if not baselines:
        return
    best = max(baselines, key=lambda row: row.figures[metric].mean)
    value = best.figures[metric].mean
    axes.axvline(value, color=COLOUR["muted"], linestyle=":", linewidth=1.5)
    axes.annotate(
        label(best.system),
        (value, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        color=COLOUR["muted"],
        fontsize=9,
        bbox={"facecolor": COLOUR["paper"], "edgecolor": "none", "pad": 0.6},
    )
