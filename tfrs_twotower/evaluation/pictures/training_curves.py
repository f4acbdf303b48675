"""The loss and the validation metric over training."""

from typing import Any

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tfrs_twotower.evaluation.pictures.drawing import COLOUR, style, to_svg


def validation_points(log: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Steps and values of each validation metric in the log."""
    points: dict[str, list[tuple[float, float]]] = {}
    for line in log:
        measured = line.get("validation")
        for name, value in (measured if isinstance(measured, dict) else {}).items():
            if "@" in name and isinstance(value, int | float):
                points.setdefault(name, []).append((float(line["step"]), float(value)))
    return points


def draw_training(log: list[dict[str, Any]]) -> str | None:
    """SVG of loss and validation metrics against steps; None without a log.

    A refit counts its steps from 0 again and has no validation: the first phase is drawn.
    """
    log = [line for line in log if line.get("phase") == log[0].get("phase")]
    losses = [
        (float(line["step"]), float(line["loss"]))
        for line in log
        if isinstance(line.get("loss"), int | float) and "step" in line
    ]
    measured = validation_points(log)
    if not losses and not measured:
        return None
    with style():
        figure = Figure(figsize=(8.4, 3.0), layout="constrained")
        FigureCanvasSVG(figure)
        left, right = figure.subplots(1, 2)
        left.plot(*zip(*losses, strict=True), color=COLOUR["retrieval"]) if losses else None
        left.set_title("training loss", loc="left", fontsize=11)
        for place, (name, points) in enumerate(sorted(measured.items())[:4]):
            shade = (COLOUR["ease"], COLOUR["retrieval"], COLOUR["hybrid"], COLOUR["item_knn"])
            right.plot(
                *zip(*points, strict=True), "o-", markersize=4, color=shade[place], label=name
            )
            best = max(points, key=lambda point: point[1])
            right.plot(
                [best[0]],
                [best[1]],
                "o",
                markersize=11,
                markerfacecolor="none",
                markeredgecolor=shade[place],
            )
        right.set_title("validation", loc="left", fontsize=11)
        if measured:
            right.legend(loc="lower right")
        for axes in (left, right):
            axes.set_xlabel("step")
        return to_svg(figure, "Training loss and validation metrics over steps")
