"""The two clouds of embeddings from their widest side."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.embedding_space import sample
from tfrs_twotower.evaluation.pictures.drawing import COLOUR, new_figure, style, to_svg

_POINTS = 600


def principal_plane(
    vectors: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Centre, the two directions of largest variance `[2, dim]`, and their share of it."""
    centre = vectors.mean(axis=0, dtype=np.float64)
    _, singular, directions = np.linalg.svd(vectors - centre, full_matrices=False)
    power = np.square(singular)
    share = float(power[:2].sum() / max(float(power.sum()), 1e-300))
    return centre, directions[:2], share


def draw_embedding_map(
    queries: NDArray[np.float32], candidates: NDArray[np.float32], seed: int
) -> tuple[str, float]:
    """SVG of at most 600 vectors of each side, and the share of variance that it shows."""
    generator = np.random.default_rng(seed)
    parts = {
        "candidates": candidates[sample(len(candidates), _POINTS, generator)],
        "queries": queries[sample(len(queries), _POINTS, generator)],
    }
    centre, plane, share = principal_plane(np.concatenate(list(parts.values())))
    with style():
        figure, axes = new_figure(4.6, 4.3)
        for name, marker, size in (("candidates", "o", 13), ("queries", "^", 15)):
            flat = (parts[name] - centre) @ plane.T
            axes.scatter(
                flat[:, 0],
                flat[:, 1] if flat.shape[1] > 1 else np.zeros(len(flat)),
                s=size,
                marker=marker,
                color=COLOUR[name],
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
        return to_svg(figure, "Principal plane of query and candidate embeddings"), share
