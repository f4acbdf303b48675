"""What the index loses against exact search, and what it saves."""

from typing import Any

from tfrs_twotower.evaluation.pictures.drawing import COLOUR, new_figure, style, to_svg

_MEASURED = ("overlap", "p50_ms")


def measured_points(quality: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of the sweep that have both overlap and latency."""
    return [
        point
        for point in quality.get("sweep") or []
        if all(point.get(name) is not None for name in _MEASURED)
    ]


def varied(points: list[dict[str, Any]]) -> list[str]:
    """Names of the settings that differ between the points."""
    names = [name for name in (points[0] if points else {}) if name not in _MEASURED]
    return [name for name in names if len({repr(point.get(name)) for point in points}) > 1]


def taken_point(quality: dict[str, Any]) -> dict[str, Any] | None:
    """The point with the parameters of the index (by overlap, where points name none)."""
    points = measured_points(quality)
    names = varied(points)
    parameters = quality.get("parameters") or {}
    for point in points:
        if names and all(point.get(name) == parameters.get(name) for name in names):
            return point
    overlap = quality.get("overlap")
    if not points or overlap is None:
        return None
    return min(points, key=lambda point: abs(float(point["overlap"]) - float(overlap)))


def verdict(quality: dict[str, Any]) -> str:
    """In one sentence, whether the index was worth it on this corpus; "" if not measured."""
    taken, exact = taken_point(quality), quality.get("exact_p50_ms")
    if taken is None or exact is None:
        return ""
    latency = float(taken["p50_ms"])
    if latency < float(exact):
        return (
            f"The setting taken answers a query in {latency:.2f} ms, exact search in "
            f"{float(exact):.2f} ms: {float(exact) / latency:.1f} times faster."
        )
    return (
        f"Exact search answers a query in {float(exact):.2f} ms, the setting taken in "
        f"{latency:.2f} ms: a corpus of this size needs no approximate index."
    )


def draw_tradeoff(quality: dict[str, Any]) -> str | None:
    """SVG of overlap against latency of every measured setting; None without a sweep."""
    points = measured_points(quality)
    if not points:
        return None
    k, names, taken = quality.get("k", 100), varied(points), taken_point(quality)
    with style():
        figure, axes = new_figure(4.9, 3.6)
        for point in points:
            place = (float(point["p50_ms"]), float(point["overlap"]))
            is_taken = point is taken
            axes.plot(*place, "o", color=COLOUR["retrieval"], markersize=7)
            if is_taken:
                axes.plot(
                    *place,
                    "o",
                    markersize=13,
                    markerfacecolor="none",
                    markeredgecolor=COLOUR["ink"],
                    markeredgewidth=1.4,
                )
            text = ", ".join(f"{point.get(name)}" for name in names)
            axes.annotate(
                f"{text} taken".strip() if is_taken else text,
                place,
                xytext=(0, 10),
                ha="center",
                textcoords="offset points",
                color=COLOUR["ink" if is_taken else "muted"],
                fontsize=9.5,
                bbox={"facecolor": COLOUR["paper"], "edgecolor": "none", "pad": 0.5},
            )
        _draw_target(axes, quality.get("target"))
        _draw_exact(axes, quality.get("exact_p50_ms"))
        axes.set_xlabel("median milliseconds of one query")
        axes.set_ylabel(f"overlap@{k} with exact search")
        axes.margins(x=0.12, y=0.2)
        axes.set_xlim(left=0)
        axes.set_yticks([tick for tick in axes.get_yticks()[1:] if tick <= 1.0])
        return to_svg(figure, f"Overlap at {k} against latency of the index")


def _draw_target(axes: Any, target: float | None) -> None:
    if target is None:
        return
    axes.axhline(float(target), color=COLOUR["muted"], linestyle=(0, (4, 3)), linewidth=1)
    axes.annotate(
        f"target {target}",
        (0.99, float(target)),
        xycoords=("axes fraction", "data"),
        xytext=(0, -12),
        ha="right",
        textcoords="offset points",
        color=COLOUR["muted"],
        fontsize=9.5,
    )


def _draw_exact(axes: Any, latency: float | None) -> None:
    if latency is None:
        return
    axes.axvline(
        float(latency), color=COLOUR["ease"], linestyle=(0, (1, 2)), linewidth=1.6, zorder=1.5
    )
    axes.annotate(
        "exact\nsearch",
        (float(latency), 0.04),
        xycoords=("data", "axes fraction"),
        xytext=(-6, 0),
        ha="right",
        textcoords="offset points",
        color=COLOUR["ease"],
        fontsize=9.5,
    )
