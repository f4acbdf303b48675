"""One figure for every slice: how each system does on each part of the test."""

from typing import Any

from tfrs_twotower.evaluation.pictures.drawing import (
    COLOUR,
    SYSTEM_ORDER,
    colour_of,
    new_figure,
    style,
    to_svg,
)

_MARKERS = dict(zip(SYSTEM_ORDER, "oDs^vPX", strict=True))


def draw_slices(systems: dict[str, Any], metric: str) -> str:
    """SVG of one metric in each slice; the model's interval is a bar."""
    slices = systems["retrieval"]["slices"]
    names = [name for name in SYSTEM_ORDER if name in systems]
    with style():
        figure, axes = new_figure(8.4, 1.1 + 0.42 * len(slices))
        labels = []
        for place, (key, part) in enumerate(slices.items()):
            labels.append(f"{part['title']}  ({part['queries']:,} queries)")
            for name in reversed(names):
                entry = systems[name]["slices"][key]["metrics"].get(metric)
                if entry is None:
                    continue
                if name == "retrieval":
                    axes.plot(
                        entry["ci95"],
                        [place, place],
                        color=colour_of(name),
                        linewidth=5,
                        alpha=0.3,
                        solid_capstyle="butt",
                    )
                axes.plot(
                    [entry["mean"]],
                    [place],
                    _MARKERS[name],
                    color=colour_of(name),
                    markersize=9 if name == "retrieval" else 6.5,
                    markeredgecolor=COLOUR["paper"],
                    markeredgewidth=0.8,
                    label=name.replace("_", " ") if place == 0 else None,
                )
        axes.set_yticks(range(len(labels)), labels, color=COLOUR["ink"])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.set_xlabel(metric)
        handles, texts = axes.get_legend_handles_labels()
        figure.legend(
            handles[::-1],
            texts[::-1],
            loc="outside upper center",
            ncols=7,
            handletextpad=0.1,
            columnspacing=1.2,
        )
        return to_svg(figure, f"{metric} of each system in each slice of the test")
