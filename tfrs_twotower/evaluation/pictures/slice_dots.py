"""One figure for every slice: how each system does on each part of the test."""

from typing import Any

from matplotlib.axes import Axes

from tfrs_twotower.evaluation.labels import label
from tfrs_twotower.evaluation.pictures.drawing import (
    COLOUR,
    MODEL_STAGES,
    SYSTEM_ORDER,
    colour_of,
    new_figure,
    style,
    to_svg,
)

_MARKERS = dict(zip(SYSTEM_ORDER, "poDs^vPX", strict=True))


def draw_slices(systems: dict[str, Any], metric: str) -> str | None:
    """SVG of one metric over the whole test and in each slice; a bar is the model's interval.

    A slice that is the whole test says nothing new and is left out. None where no other is left.
    """
    whole = systems["retrieval"]["metrics"][metric]
    slices = {
        key: part
        for key, part in systems["retrieval"]["slices"].items()
        if metric in part["metrics"] and part["metrics"][metric] != whole
    }
    if not slices:
        return None
    names = [name for name in SYSTEM_ORDER if name in systems]
    rows = [("all test queries", whole["queries"], {n: systems[n]["metrics"] for n in names})]
    rows += [
        (part["title"], part["queries"], {n: systems[n]["slices"][key]["metrics"] for n in names})
        for key, part in slices.items()
    ]
    with style():
        figure, axes = new_figure(10.4, 1.1 + 0.42 * len(rows))
        for place, (_, _, figures) in enumerate(rows):
            _draw_row(axes, place, {name: figures[name].get(metric) for name in names})
        labels = [f"{title}  ({queries:,} queries)" for title, queries, _ in rows]
        axes.set_yticks(range(len(labels)), labels, color=COLOUR["ink"])
        axes.get_yticklabels()[0].set_fontweight("bold")
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.margins(x=0.03)
        axes.tick_params(axis="y", length=0)
        if metric.startswith("recall"):
            axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.set_xlabel(metric)
        handles, texts = axes.get_legend_handles_labels()
        figure.legend(
            handles[::-1],
            texts[::-1],
            loc="outside upper center",
            ncols=len(names),
            handletextpad=0.1,
            columnspacing=1.2,
        )
        return to_svg(figure, f"{metric} of each system in each slice of the test")


def _draw_row(axes: Axes, place: int, figures: dict[str, dict[str, Any] | None]) -> None:
    """The systems' means side by side; the important ones are drawn last, on top."""
    for name, entry in reversed(figures.items()):
        if entry is None:
            continue
        if name in MODEL_STAGES:
            axes.plot(
                entry["ci95"],
                [place, place],
                color=colour_of(name),
                linewidth=6,
                alpha=0.3,
                solid_capstyle="butt",
                zorder=1.5,
            )
        axes.plot(
            [entry["mean"]],
            [place],
            _MARKERS[name],
            color=colour_of(name),
            markersize=8 if name in MODEL_STAGES else 6.5,
            markeredgecolor=COLOUR["paper"],
            markeredgewidth=0.8 if _MARKERS[name] in "poDs^v" else 0.4,
            label=label(name) if place == 0 else None,
        )
