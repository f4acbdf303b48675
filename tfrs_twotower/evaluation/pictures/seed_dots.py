"""Every seed of every run as a dot: differences beside the noise of training."""

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tfrs_twotower.evaluation.comparison_rows import ComparisonRow
from tfrs_twotower.evaluation.labels import label
from tfrs_twotower.evaluation.pictures.drawing import COLOUR, colour_of, style, to_svg

_MARKERS = {"retrieval": "o", "cascade": "D", "hybrid": "s"}


def draw_seeds(rows: list[ComparisonRow]) -> str:
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


def _draw_panel(axes: Axes, models: list[ComparisonRow], metric: str) -> None:
    for place, row in enumerate(models):
        colour = colour_of(row.system)
        figure = row.figures[metric]
        by_seed = figure["by_seed"]
        axes.plot(
            by_seed,
            [place] * len(by_seed),
            _MARKERS[row.system],
            color=colour,
            markersize=5.5,
            alpha=0.55,
            markeredgewidth=0,
        )
        axes.plot([figure["mean"]] * 2, [place - 0.28, place + 0.28], color=colour, linewidth=2)


def _draw_baseline(axes: Axes, baselines: list[ComparisonRow], metric: str) -> None:
    if not baselines:
        return
    best = max(baselines, key=lambda row: row.figures[metric]["mean"])
    value = best.figures[metric]["mean"]
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
