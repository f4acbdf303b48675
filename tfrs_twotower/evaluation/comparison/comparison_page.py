"""The page of a comparison, one self-contained HTML file, and its picture of the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tfrs_twotower.artifacts.layout import REPORT_PAGE
from tfrs_twotower.evaluation.comparison import comparison_document, comparison_tables
from tfrs_twotower.evaluation.evaluation_document import Verdict
from tfrs_twotower.evaluation.report.drawing import COLOUR, colour_of, name_of, style, to_svg
from tfrs_twotower.evaluation.report.rendering import (
    Origin,
    decimal,
    inline,
    probability,
    render,
    shorten,
)
from tfrs_twotower.evaluation.systems import label

_TEMPLATE = Path(__file__).with_name("comparison.html")
_UNKNOWN = Origin()
_PANELS_IN_A_ROW = 3
_MARKERS = {"retrieval": "o", "cascade": "D", "hybrid": "s", "cross_encoder": "^"}
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
        verdict: the verdict on each run, by the run's name and last stage.
        labels: the runs' names in tables, by name.
        verdict_lines: a sentence for each run.
        advice: what to try next, without repetitions.
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
    verdict: dict[tuple[str, str], Verdict]
    labels: dict[str, str]
    verdict_lines: list[str]
    advice: list[str]
    scale: dict[str, float]
    picture: Markup | None
    tests: dict[str, list[comparison_tables.ComparedPair]]
    runs: list[comparison_document.ComparedRun]
    seconds: dict[str, dict[str, float]]
    stages: list[str]


def render_comparison(
    document: comparison_document.ComparisonDocument,
    origin: Origin = _UNKNOWN,
    reports: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """The page of a `comparison.json` as HTML text, with its style and pictures inside.

    Args:
        document: the content of `comparison.json`.
        origin: command, documents and date.
        reports: the seeds whose report the page may link to, by run.
    """
    return render(
        _TEMPLATE,
        document=document,
        origin=origin,
        reports={
            run.name: {
                seed: quote(f"{run.directory}/seed-{seed}/report/{REPORT_PAGE}")
                for seed in (reports or {}).get(run.name, ())
            }
            for run in document.runs
        },
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
        verdict={(run, verdict.system): verdict for run, verdict in table.verdicts.items()},
        labels={name: comparison_tables.label_of(table, name) for name in names},
        verdict_lines=comparison_tables.verdict_lines(table),
        advice=comparison_tables.advice(table),
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
    name, value = f"{best.label} ({label(best.system)})", decimal(figure.mean)
    if figure.sd is not None:
        value += f" \N{PLUS-MINUS SIGN} {decimal(figure.sd)} over {num_seeds} seeds"
    first = max(rows, key=lambda row: row.figures[metric].mean)
    if first.figures[metric].mean > figure.mean:
        text = f"{label(first.system)}, a baseline, has the highest {metric}, "
        text += f"{decimal(first.figures[metric].mean)}; the best run, {name}, has {value}"
        text += _in_words(_test_of(table, best, first, metric), num_seeds)
    else:
        text = f"{name} has the highest {metric}, {value}"
    if best.is_reference:
        others = len({row.run for row in models}) - 1
        if others and num_seeds > 1:
            worse = len({row.run for row in models if row.standings.get(metric) == "behind"})
            text += f"; {worse or 'none'} of {others} other runs significantly worse"
        return text + "."
    test = best.tests.get(metric)
    if test is None or num_seeds == 1:
        return text + "."
    reference = comparison_tables.label_of(table, table.reference)
    return (
        f"{text}; {decimal(abs(test.difference))} {'more' if test.difference > 0 else 'less'} than "
        f"{reference}{_in_words(test, num_seeds)}."
    )


def _test_of(
    table: comparison_document.ComparisonTable,
    run: comparison_tables.ComparisonRow,
    baseline: comparison_tables.ComparisonRow,
    metric: str,
) -> comparison_document.SeedTest | None:
    sides = (run.run, run.system, baseline.run, baseline.system, metric)
    for test in table.tests.baselines:
        if (test.a.run, test.a.system, test.b.run, test.b.system, test.metric) == sides:
            return test
    return None


def _in_words(test: comparison_document.SeedTest | None, num_seeds: int) -> str:
    if test is None or num_seeds == 1:
        return ""
    verdict = "a significant difference" if test.significant else "no significant difference"
    return f", {verdict} (p {probability(test.both.p_holm)} after Holm)"


def draw_seeds(rows: list[comparison_tables.ComparisonRow]) -> str:
    """SVG with one panel for each key metric and one line for each system of each run.

    A dot is a seed, the upright bar the mean; the dotted line is the best baseline.
    """
    models = [row for row in rows if row.is_model]
    baselines = [row for row in rows if not row.is_model]
    metrics = list(models[0].figures)
    several = len({row.system for row in models}) > 1
    columns = min(len(metrics), _PANELS_IN_A_ROW)
    lines = -(-len(metrics) // columns)
    with style():
        height = 1.5 + 0.3 * len(models)
        figure = Figure(figsize=(10.4, lines * height), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flat
        for axes, metric in zip(panels, metrics, strict=False):
            _draw_panel(axes, models, metric)
            _draw_baseline(axes, baselines, metric)
            axes.set_title(metric, loc="left", fontsize=11)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4)
            axes.margins(x=0.08)
        for axes in list(panels)[len(metrics) :]:
            axes.set_visible(False)
        names = [
            f"{shorten(row.label, 26)}, {label(row.system)}" if several else shorten(row.label, 36)
            for row in models
        ]
        first = figure.axes[0]
        first.set_yticks(range(len(models)), names, color=COLOUR["ink"])
        # The uppermost line is left free for the name of the baseline.
        first.set_ylim(len(models) - 0.4, -1.5 if baselines else -0.6)
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
    low, high = axes.get_xlim()
    is_left = value < (low + high) / 2
    axes.annotate(
        name_of(best.system),
        (value, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3 if is_left else -3, -3),
        textcoords="offset points",
        ha="left" if is_left else "right",
        va="top",
        color=COLOUR["muted"],
        fontsize=9,
    )
