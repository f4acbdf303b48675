"""Pictures of earlier stages: the losses and metrics of training, the trade-off of the index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from tfrs_twotower.evaluation.evaluated_data import LogLine
from tfrs_twotower.evaluation.report.drawing import COLOUR, new_figure, style, to_svg

if TYPE_CHECKING:  # it loads TensorFlow
    from tfrs_twotower.index.quality import IndexQuality

_PHASES = {
    "warm_up": "warm-up: spans of the candidates' texts",
    "fit": "fit: training interactions",
    "refit": "refit: training and validation",
}
_SHADES = {"fit": COLOUR["retrieval"], "refit": COLOUR["hybrid"]}
_TERMS_IN_A_ROW = 3
_MEASURED = ("overlap", "p50_ms")
_POINT_RADIUS = 7.0
_SIDES: tuple[tuple[tuple[int, int], Any, Any], ...] = (
    ((0, 11), "center", "bottom"),
    ((0, -11), "center", "top"),
    ((11, 0), "left", "center"),
    ((-11, 0), "right", "center"),
    ((8, 8), "left", "bottom"),
    ((-8, 8), "right", "bottom"),
    ((8, -8), "left", "top"),
    ((-8, -8), "right", "top"),
)
"""Places of a label beside its point: offset in points, horizontal and vertical alignment."""
_NOT_SETTINGS = (*_MEASURED, "worst_decile", "perturbed_overlap")

Points = list[tuple[float, float]]


def validation_points(log: list[LogLine]) -> dict[str, Points]:
    """Steps and values of each validation metric in the log."""
    points: dict[str, Points] = {}
    for line in log:
        for name, value in line.validation.items():
            if "@" in name:
                points.setdefault(name, []).append((line.step, value))
    return points


def loss_points(log: list[LogLine], name: str = "loss") -> dict[str, Points]:
    """Steps and values of the objective, or of a term, in each phase."""
    points: dict[str, Points] = {}
    for line in log:
        if name in line.losses:
            points.setdefault(line.phase, []).append((line.step, line.losses[name]))
    return points


def terms_of(log: list[LogLine]) -> list[str]:
    """Names of the objective's terms, as they were logged."""
    return list(dict.fromkeys(name for line in log for name in line.losses if name != "loss"))


def draw_training(log: list[LogLine]) -> str | None:
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
        best = max(points, key=lambda point: point[1])
        # The value stands in the legend: beside the ring it would lie over other curves' values.
        label = f"{name} on validation queries, best {best[1]:.3f}"
        axes.plot(*zip(*points, strict=True), "o-", markersize=4, color=shade, label=label)
        axes.plot(*best, "o", markersize=11, markerfacecolor="none", markeredgecolor=shade)
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) == 1:
        axes.set_title(labels[0], loc="left", fontsize=11)
    else:  # above the axes, where no curve runs
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0.2,
        )
    axes.set_xlabel("step")
    axes.margins(x=0.06)


@dataclass(frozen=True)
class MeasuredPoint:
    """One setting of the index with both measurements.

    Attributes:
        settings: search parameters by name.
        overlap: with exact search.
        p50_ms: median milliseconds of one query.
    """

    settings: dict[str, object]
    overlap: float
    p50_ms: float


def measured_points(quality: "IndexQuality | None") -> list[MeasuredPoint]:
    """The settings of the sweep that have both overlap and latency."""
    sweep = quality.sweep if quality is not None else []
    return [
        MeasuredPoint(
            {name: value for name, value in entry.items() if name not in _NOT_SETTINGS},
            float(entry["overlap"]),
            float(entry["p50_ms"]),
        )
        for entry in sweep
        if all(entry.get(name) is not None for name in _MEASURED)
    ]


def varied(points: list[MeasuredPoint]) -> list[str]:
    """Names of the settings that differ between the points."""
    names = points[0].settings if points else {}
    return [name for name in names if len({repr(p.settings.get(name)) for p in points}) > 1]


def taken_point(quality: "IndexQuality | None") -> MeasuredPoint | None:
    """The point with the parameters of the index (by overlap, where none has them)."""
    points = measured_points(quality)
    if quality is None or not points:
        return None
    names = varied(points)
    for point in points:
        if names and all(point.settings.get(n) == quality.parameters.get(n) for n in names):
            return point
    return min(points, key=lambda point: abs(point.overlap - quality.overlap))


def verdict(quality: "IndexQuality | None") -> str:
    """In one sentence, whether the index was worth it on this corpus; "" if not measured."""
    taken = taken_point(quality)
    if quality is None or taken is None:
        return ""
    exact = quality.exact_p50_ms
    if taken.p50_ms < exact:
        return (
            f"The setting taken answers a query in {taken.p50_ms:.2f} ms, exact search in "
            f"{exact:.2f} ms: {exact / taken.p50_ms:.1f} times faster."
        )
    return (
        f"Exact search answers a query in {exact:.2f} ms, the setting taken in "
        f"{taken.p50_ms:.2f} ms: a corpus of this size needs no approximate index."
    )


def draw_tradeoff(quality: "IndexQuality | None") -> str | None:
    """SVG of overlap against latency of every measured setting; None without a sweep.

    A setting that has no room for its label has none; the page lists them all in a table.
    """
    points = measured_points(quality)
    if quality is None or not points:
        return None
    names, taken = varied(points), taken_point(quality)
    with style():
        figure, axes = new_figure(4.9, 3.8)
        for point in points:
            place = (point.p50_ms, point.overlap)
            axes.plot(*place, "o", color=COLOUR["retrieval"], markersize=7)
            if point == taken:
                axes.plot(
                    *place,
                    "o",
                    markersize=13,
                    markerfacecolor="none",
                    markeredgecolor=COLOUR["ink"],
                    markeredgewidth=1.4,
                )
        axes.axhline(
            quality.target,
            color=COLOUR["muted"],
            linestyle=(0, (4, 3)),
            linewidth=1,
            label=f"target {quality.target}",
        )
        axes.axvline(
            quality.exact_p50_ms,
            color=COLOUR["ease"],
            linestyle=(0, (1, 2)),
            linewidth=1.6,
            zorder=1.5,
            label="exact search",
        )
        figure.legend(loc="outside upper left", ncols=2)
        axes.set_xlabel("median milliseconds of one query")
        axes.set_ylabel(f"overlap@{quality.k} with exact search")
        axes.margins(x=0.12, y=0.2)
        axes.set_xlim(left=0)
        axes.set_yticks([tick for tick in axes.get_yticks()[1:] if tick <= 1.0])
        labels = []
        for point in sorted(points, key=lambda point: point != taken):
            text = ", ".join(f"{point.settings.get(name)}" for name in names)
            labels.append((point, f"{text} taken".strip() if point == taken else text))
        _label_points(axes, labels, taken)
        return to_svg(figure, f"Overlap at {quality.k} against latency of the index")


def _label_points(
    axes: Axes, labels: Sequence[tuple[MeasuredPoint, str]], taken: MeasuredPoint | None
) -> None:
    """Writes each label beside its point where nothing else stands; the first labels come first."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    radius = _POINT_RADIUS * figure.dpi / 72
    at = [axes.transData.transform((point.p50_ms, point.overlap)) for point, _ in labels]
    occupied = [Bbox([place - radius, place + radius]) for place in at]
    for point, text in labels:
        for offset, horizontal, vertical in _SIDES:
            note = axes.annotate(
                text,
                (point.p50_ms, point.overlap),
                xytext=offset,
                ha=horizontal,
                va=vertical,
                textcoords="offset points",
                color=COLOUR["ink" if point == taken else "muted"],
                fontsize=9.5,
            )
            note.set_in_layout(False)
            box = note.get_window_extent().padded(2)
            room = Bbox.from_extents(axes.bbox.x0, axes.bbox.y0, figure.bbox.x1, axes.bbox.y1)
            inside = room.contains(box.x0, box.y0) and room.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in occupied):
                occupied.append(box)
                break
            note.remove()
