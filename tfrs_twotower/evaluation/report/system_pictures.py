"""Pictures of the systems: recall by list length, slices of the test, both embedding clouds."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tfrs_twotower.evaluation import breakdown, evaluation_document
from tfrs_twotower.evaluation.report import drawing, rendering
from tfrs_twotower.evaluation.systems import SystemRun
from tfrs_twotower.metrics import Judged

_POINTS = 600


def recall_curve(judged: Judged) -> NDArray[np.float64]:
    """`[K]`: mean recall@1 .. recall@K over the queries."""
    hits = np.cumsum(judged.gains > 0, axis=1)
    return np.asarray((hits / np.maximum(judged.num_relevant, 1)[:, None]).mean(axis=0))


def _longest(run: SystemRun) -> Judged:
    """The lists that a system's recall is measured on at the largest K."""
    return run.ranking(f"recall@{run.ranked.shape[1]}").judged


def draw_recall_curves(runs: dict[str, SystemRun]) -> str:
    """SVG of recall@1 .. recall@K, with the systems named at the ends of their lines."""
    names = drawing.in_order(runs)
    height = max(4.4, 0.25 * len(names) + 0.9)  # inches: a line for each label
    with drawing.style():
        figure, axes = drawing.new_figure(10.4, height)
        ends = {}
        for name in reversed(names):
            curve = recall_curve(_longest(runs[name]))
            ends[name] = float(curve[-1])
            axes.plot(
                np.arange(1, len(curve) + 1),
                curve,
                color=drawing.colour_of(name),
                linestyle=drawing.dashes_of(name),
                linewidth=2.8 if name in drawing.MODEL_STAGES else 1.7,
            )
        longest = len(curve)
        axes.set_xlim(1, longest)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("candidates in the list (K)")
        axes.set_ylabel("recall@K")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        top = float(axes.get_ylim()[1])
        for name, place in spread_labels(ends, 0.23 * top / height, top).items():
            axes.annotate(
                drawing.name_of(name),
                (longest, ends[name]),
                xytext=(1.025, place / top),
                textcoords="axes fraction",
                color=drawing.colour_of(name),
                va="center",
                fontweight="bold" if name in drawing.MODEL_STAGES else "normal",
                arrowprops={
                    "arrowstyle": "-",
                    "color": drawing.colour_of(name),
                    "linewidth": 0.8,
                    "relpos": (0, 0.5),
                },
                annotation_clip=False,
            )
        return drawing.to_svg(figure, "Recall against list length for each system")


def spread_labels(heights: dict[str, float], gap: float, top: float = np.inf) -> dict[str, float]:
    """Moves labels apart so that no two are closer than the gap; their order stays.

    They stay between 0 and `top` where there is room for all of them.
    """
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
        placed = np.minimum(placed, top - np.arange(len(placed))[::-1] * gap)
        placed = np.maximum(placed, np.arange(len(placed)) * gap)
    return dict(zip(names, placed.tolist(), strict=True))


def draw_slices(systems: dict[str, evaluation_document.SystemFigures], metric: str) -> str | None:
    """SVG of one metric over the whole test and in each slice; a bar is the model's interval.

    A slice that is the whole test says nothing new and is left out; None where nothing is left.
    """
    whole = systems["retrieval"].metrics[metric]
    slices = {
        key: part
        for key, part in systems["retrieval"].slices.items()
        if metric in part.metrics and part.metrics[metric] != whole
    }
    if not slices:
        return None
    names = drawing.in_order(systems)
    columns = drawing.columns_of(map(drawing.name_of, names))
    rows = [("all test queries", whole.queries, {n: systems[n].metrics for n in names})]
    rows += [
        (part.title, part.queries, {n: systems[n].slices[key].metrics for n in names})
        for key, part in slices.items()
    ]
    with drawing.style():
        figure, axes = drawing.new_figure(
            10.4, 0.9 + 0.42 * len(rows) + 0.22 * -(-len(names) // columns)
        )
        for place, (_, _, figures) in enumerate(rows):
            _draw_row(axes, place, {name: figures[name].get(metric) for name in names})
        labels = [f"{rendering.shorten(t, 48)}  ({queries:,} queries)" for t, queries, _ in rows]
        axes.set_yticks(range(len(labels)), labels, color=drawing.COLOUR["ink"])
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
            ncols=columns,
            handletextpad=0.1,
            columnspacing=1.2,
        )
        return drawing.to_svg(figure, f"{metric} of each system in each slice of the test")


def _draw_row(
    axes: Axes, place: int, figures: dict[str, evaluation_document.Figure | None]
) -> None:
    """The systems' means side by side; the important ones are drawn last, on top."""
    for name, entry in reversed(figures.items()):
        if entry is None:
            continue
        if name in drawing.MODEL_STAGES:
            axes.plot(
                entry.ci95,
                [place, place],
                color=drawing.colour_of(name),
                linewidth=6,
                alpha=0.3,
                solid_capstyle="butt",
                zorder=1.5,
            )
        axes.plot(
            [entry.mean],
            [place],
            drawing.marker_of(name),
            color=drawing.colour_of(name),
            markersize=8 if name in drawing.MODEL_STAGES else 6.5,
            markeredgecolor=drawing.COLOUR["paper"],
            markeredgewidth=0.8 if drawing.marker_of(name) in "poDs^v" else 0.4,
            label=drawing.name_of(name) if place == 0 else None,
        )


def principal_plane(
    vectors: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Centre, the two directions of largest variance `[2, dim]`, and their fraction of it."""
    centre = vectors.mean(axis=0, dtype=np.float64)
    _, singular, directions = np.linalg.svd(vectors - centre, full_matrices=False)
    power = np.square(singular)
    explained = float(power[:2].sum() / max(float(power.sum()), 1e-300))
    return centre, directions[:2], explained


def draw_embedding_map(
    queries: NDArray[np.float32], candidates: NDArray[np.float32], seed: int
) -> tuple[str, float]:
    """SVG of at most 600 vectors of each side, and the fraction of variance that it shows."""
    generator = np.random.default_rng(seed)
    parts = {
        "candidates": candidates[breakdown.sample(len(candidates), _POINTS, generator)],
        "queries": queries[breakdown.sample(len(queries), _POINTS, generator)],
    }
    centre, plane, explained = principal_plane(np.concatenate(list(parts.values())))
    with drawing.style():
        figure, axes = drawing.new_figure(4.6, 4.3)
        for name, marker, size in (("candidates", "o", 13), ("queries", "^", 15)):
            flat = (parts[name] - centre) @ plane.T
            axes.scatter(
                flat[:, 0],
                flat[:, 1] if flat.shape[1] > 1 else np.zeros(len(flat)),
                s=size,
                marker=marker,
                color=drawing.COLOUR[name],
                alpha=0.55,
                linewidths=0,
                label=name,
            )
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2, handletextpad=0.2)
        return drawing.to_svg(
            figure, "Principal plane of query and candidate embeddings"
        ), explained
