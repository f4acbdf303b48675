"""The objective, its terms, and the validation metric over training."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tfrs_twotower.evaluation.pictures.drawing import COLOUR, style, to_svg

_PHASES = {"fit": "fit: training interactions", "refit": "refit: training and validation"}
_SHADES = {"fit": COLOUR["retrieval"], "refit": COLOUR["hybrid"]}
_NOT_TERMS = {
    "member", "phase", "step", "epoch", "loss", "gradient_norm", "learning_rate", "examples_per_s",
}  # fmt: skip
_TERMS_IN_A_ROW = 3

Points = list[tuple[float, float]]


def validation_points(log: list[dict[str, Any]]) -> dict[str, Points]:
    """Steps and values of each validation metric in the log."""
    points: dict[str, Points] = {}
    for line in log:
        measured = line.get("validation")
        for name, value in (measured if isinstance(measured, dict) else {}).items():
            if "@" in name and isinstance(value, int | float):
                points.setdefault(name, []).append((float(line["step"]), float(value)))
    return points


def loss_points(log: list[dict[str, Any]], name: str = "loss") -> dict[str, Points]:
    """Steps and values of the objective, or of a term, in each phase.

    A log without phases is one `fit`.
    """
    points: dict[str, Points] = {}
    for line in log:
        if isinstance(line.get(name), int | float) and "step" in line:
            phase = str(line.get("phase") or "fit")
            points.setdefault(phase, []).append((float(line["step"]), float(line[name])))
    return points


def terms_of(log: list[dict[str, Any]]) -> list[str]:
    """Names of the objective's terms, as they were logged."""
    names = (
        name
        for line in log
        for name, value in line.items()
        if name not in _NOT_TERMS and isinstance(value, int | float)
    )
    return list(dict.fromkeys(names))


def draw_training(log: list[dict[str, Any]]) -> str | None:
    """SVG of the objective and of validation metrics against steps; None without a log.

    Where the objective has several terms each has a panel and a scale of its own below. A refit
    counts its steps from 0 again, so its curve lies over that of the fit.
    """
    losses, measured, terms = loss_points(log), validation_points(log), terms_of(log)
    if not losses and not measured:
        return None
    rows = -(-len(terms) // _TERMS_IN_A_ROW) if len(terms) > 1 else 0
    with style():
        figure = Figure(figsize=(10.4, 3.4 + 2.1 * rows), layout="constrained")
        FigureCanvasSVG(figure)
        heights = [3.4] + [2.1] * rows
        grid = figure.add_gridspec(1 + rows, 2 * _TERMS_IN_A_ROW, height_ratios=heights)
        half = _TERMS_IN_A_ROW
        if losses:
            axes = figure.add_subplot(grid[0, :half] if measured else grid[0, :])
            _draw_losses(axes, losses, "loss of training batches")
            if len(losses) > 1:
                axes.legend(loc="upper right")
        if measured:
            beside = {"sharex": figure.axes[0]} if losses else {}
            axes = figure.add_subplot(grid[0, half:] if losses else grid[0, :], **beside)
            _draw_validation(axes, measured)
        for place, name in enumerate(terms if rows else ()):
            row, column = divmod(place, _TERMS_IN_A_ROW)
            axes = figure.add_subplot(grid[1 + row, 2 * column : 2 * column + 2])
            _draw_losses(axes, loss_points(log, name), name.replace("_", " "))
            if place + _TERMS_IN_A_ROW < len(terms):
                axes.set_xlabel("")
        return to_svg(figure, "Training losses and validation metrics over steps")


def _draw_losses(axes: Axes, losses: dict[str, Points], title: str) -> None:
    for phase, points in losses.items():
        axes.plot(
            *zip(*points, strict=True),
            color=_SHADES.get(phase, COLOUR["muted"]),
            linewidth=1.3,
            label=_PHASES.get(phase, phase),
        )
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("step")


def _draw_validation(axes: Axes, measured: dict[str, Points]) -> None:
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
