"""What the index loses against exact search, and what it saves."""

from typing import Any

from tfrs_twotower.evaluation.pictures.drawing import COLOUR, new_figure, style, to_svg


def draw_tradeoff(quality: dict[str, Any]) -> str | None:
    """SVG of overlap against latency of every measured setting; None without a sweep."""
    points = [
        (float(point["p50_ms"]), float(point["overlap"]))
        for point in quality.get("sweep") or []
        if point.get("p50_ms") is not None and point.get("overlap") is not None
    ]
    if not points:
        return None
    k = quality.get("k", 100)
    with style():
        figure, axes = new_figure(4.9, 3.3)
        points.sort()
        axes.plot(*zip(*points, strict=True), "o-", color=COLOUR["retrieval"], markersize=6)
        chosen = quality.get("overlap")
        near = min(points, key=lambda point: abs(point[1] - float(chosen or 1.0)))
        axes.plot(
            [near[0]],
            [near[1]],
            "o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor=COLOUR["ink"],
            markeredgewidth=1.4,
        )
        axes.annotate(
            "taken", near, xytext=(10, -14), textcoords="offset points", color=COLOUR["ink"]
        )
        target, exact = quality.get("target"), quality.get("exact_p50_ms")
        if target is not None:
            axes.axhline(float(target), color=COLOUR["muted"], linestyle=(0, (4, 3)), linewidth=1)
            axes.annotate(
                f"target {target}",
                (0.01, float(target)),
                xycoords=("axes fraction", "data"),
                xytext=(0, -12),
                textcoords="offset points",
                color=COLOUR["muted"],
                fontsize=9.5,
            )
        if exact is not None:
            axes.plot([float(exact)], [1.0], "D", color=COLOUR["ease"], markersize=7)
            axes.annotate(
                "exact search",
                (float(exact), 1.0),
                xytext=(0, -16),
                ha="right",
                textcoords="offset points",
                color=COLOUR["ease"],
            )
        axes.set_xlabel("median milliseconds of one query")
        axes.set_ylabel(f"overlap@{k} with exact search")
        axes.set_xlim(left=0)
        axes.margins(y=0.15)
        return to_svg(figure, f"Overlap at {k} against latency of the index")
