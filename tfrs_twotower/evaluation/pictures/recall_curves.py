"""Recall against the length of the list, one line for each system."""

import numpy as np

from tfrs_twotower.evaluation.curves import recall_curve
from tfrs_twotower.evaluation.labels import label
from tfrs_twotower.evaluation.pictures.drawing import (
    DASHES,
    MODEL_STAGES,
    SYSTEM_ORDER,
    colour_of,
    new_figure,
    style,
    to_svg,
)
from tfrs_twotower.evaluation.systems import SystemRun


def draw_recall_curves(runs: dict[str, SystemRun]) -> str:
    """SVG of recall@1 .. recall@K, with the systems named at the ends of their lines."""
    names = [name for name in SYSTEM_ORDER if name in runs]
    with style():
        figure, axes = new_figure(10.4, 4.4)
        ends = {}
        for name in reversed(names):
            curve = recall_curve(runs[name].judged)
            ends[name] = float(curve[-1])
            axes.plot(
                np.arange(1, len(curve) + 1),
                curve,
                color=colour_of(name),
                linestyle=DASHES[name],
                linewidth=2.8 if name in MODEL_STAGES else 1.7,
            )
        longest = len(curve)
        axes.set_xlim(1, longest)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("candidates in the list (K)")
        axes.set_ylabel("recall@K")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        top = float(axes.get_ylim()[1])
        for name, height in spread(ends, 0.052 * top).items():
            axes.annotate(
                label(name),
                (longest, ends[name]),
                xytext=(1.025, height / top),
                textcoords="axes fraction",
                color=colour_of(name),
                va="center",
                fontweight="bold" if name in MODEL_STAGES else "normal",
                arrowprops={"arrowstyle": "-", "color": colour_of(name), "linewidth": 0.8},
                annotation_clip=False,
            )
        return to_svg(figure, "Recall against list length for each system")


def spread(heights: dict[str, float], gap: float) -> dict[str, float]:
    """Moves labels apart so that no two are closer than the gap; their order stays."""
    names = sorted(heights, key=lambda name: heights[name])
    placed = np.array([heights[name] for name in names], float)
    for _ in range(200):
        distance = np.diff(placed)
        close = np.flatnonzero(distance < gap - 1e-9)
        if not len(close):
            break
        for place in close:
            push = (gap - (placed[place + 1] - placed[place])) / 2
            placed[place] -= push
            placed[place + 1] += push
        placed = np.maximum(placed, np.arange(len(placed)) * gap)
    return dict(zip(names, placed.tolist(), strict=True))
