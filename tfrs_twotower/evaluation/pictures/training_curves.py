"""The loss and the validation metric over training."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tfrs_twotower.evaluation.pictures.drawing import COLOUR, style, to_svg

_PHASES = {"fit": "fit: training interactions", "refit": "refit: training and validation"}


def validation_points(log: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Steps and values of each validation metric in the log."""
    points: dict[str, list[tuple[float, float]]] = {}
    for line in log:
        measured = line.get("validation")
        for name, value in (measured if isinstance(measured, dict) else {}).items():
            if "@" in name and isinstance(value, int | float):
                points.setdefault(name, []).append((float(line["step"]), float(value)))
    return points


def loss_points(log: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Steps and losses of each phase; a log without phases is one `fit`."""
    points: dict[str, list[tuple[float, float]]] = {}
    for line in log:
        if isinstance(line.get("loss"), int | float) and "step" in line:
            phase = str(line.get("phase") or "fit")
            points.setdefault(phase, []).append((float(line["step"]), float(line["loss"])))
    return points


def draw_training(log: list[dict[str, Any]]) -> str | None:
    """SVG of each phase's loss and of validation metrics against steps; None without a log.

    A refit counts its steps from 0 again, so its curve lies over that of the fit.
    """
    losses, measured = loss_points(log), validation_points(log)
    if not losses and not measured:
        return None
    with style():
        figure = Figure(figsize=(10.4, 3.4), layout="constrained")
        FigureCanvasSVG(figure)
        if not measured:
            _draw_losses(figure.subplots(), losses)
        elif not losses:
            _draw_validation(figure.subplots(), measured)
        else:
            left, right = figure.subplots(1, 2, sharex=True)
            _draw_losses(left, losses)
            _draw_validation(right, measured)
        return to_svg(figure, "Training loss and validation metrics over steps")


def _draw_losses(axes: Axes, losses: dict[str, list[tuple[float, float]]]) -> None:
    shades = {"fit": COLOUR["retrieval"], "refit": COLOUR["hybrid"]}
    for phase, points in losses.items():
        axes.plot(
            *zip(*points, strict=True),
            color=shades.get(phase, COLOUR["muted"]),
            linewidth=1.3,
            label=_PHASES.get(phase, phase),
        )
    axes.set_title("loss of training batches", loc="left", fontsize=11)
    axes.set_xlabel("step")
    if len(losses) > 1:
        axes.legend(loc="upper right")


def _draw_validation(axes: Axes, measured: dict[str, list[tuple[float, float]]]) -> None:
    shades = (COLOUR["ease"], COLOUR["retrieval"], COLOUR["hybrid"], COLOUR["item_knn"])
    for shade, (name, points) in zip(shades, sorted(measured.items()), strict=False):
        axes.plot(*zip(*points, strict=True), "o-", markersize=4, color=shade, label=name)
        best = max(points, key=lambda point: point[1])
        axes.plot(*best, "o", markersize=11, markerfacecolor="none", markeredgecolor=shade)
        axes.annotate(
            f"{best[1]:.3f}",
            best,
            xytext=(0, -18),
            ha="center",
            textcoords="offset points",
            color=shade,
            bbox={"facecolor": COLOUR["paper"], "edgecolor": "none", "pad": 0.5},
        )
    names = sorted(measured)[: len(shades)]
    title = f"{names[0]} on validation queries" if len(names) == 1 else "validation queries"
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("step")
    axes.margins(x=0.06)
    if len(names) > 1:
        axes.legend(loc="lower right")
