"""The report page: one HTML file that needs nothing else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation import wording
from tfrs_twotower.evaluation.evaluating import Evaluation
from tfrs_twotower.evaluation.examples import choose_queries, make_example
from tfrs_twotower.evaluation.headline import headline
from tfrs_twotower.evaluation.inputs import EvaluationInputs
from tfrs_twotower.evaluation.key_metrics import key_metrics
from tfrs_twotower.evaluation.labels import label
from tfrs_twotower.evaluation.leaderboard import leaderboard
from tfrs_twotower.evaluation.pictures.embedding_map import draw_embedding_map
from tfrs_twotower.evaluation.pictures.index_tradeoff import (
    draw_tradeoff,
    measured_points,
    varied,
    verdict,
)
from tfrs_twotower.evaluation.pictures.recall_curves import draw_recall_curves
from tfrs_twotower.evaluation.pictures.slice_dots import draw_slices
from tfrs_twotower.evaluation.pictures.training_curves import draw_training

_TEMPLATE = Path(__file__).with_name("report.html")
_STYLE = Path(__file__).with_name("report.css")


@dataclass(frozen=True)
class Pictures:
    """Inline SVG of every section; None where there is nothing to draw."""

    curves: Markup | None
    slices: Markup | None
    tradeoff: Markup | None
    embeddings: Markup | None
    training: Markup | None


def render_page(
    evaluation: Evaluation, inputs: EvaluationInputs, config: EvaluateConfig, seed: int
) -> str:
    """The page as HTML text, with its style and pictures inside.

    Args:
        evaluation: what was found.
        inputs: what it was found on.
        config: list lengths and number of example queries.
        seed: picks example queries and drawn points.
    """
    ks = tuple(sorted(config.ks))
    rows = leaderboard(evaluation.document, ks)
    runs = evaluation.runs
    rivals = [row.system for row in rows if not row.is_model]
    shown = {name: runs[name].ranked for name in ("retrieval", *rivals[:1])}
    picked = choose_queries(list(runs.values()), config.num_example_queries, seed)
    pictures, variance = _draw(evaluation, inputs, key_metrics(ks)[-1], seed)
    return (
        _environment()
        .from_string(_TEMPLATE.read_text(encoding="utf-8"))
        .render(
            document=evaluation.document,
            headline=headline(evaluation.document, ks, rivals),
            rows=rows,
            scale={
                metric: max(row.figures[metric]["ci95"][1] for row in rows) or 1.0
                for metric in key_metrics(ks)
            },
            metrics=key_metrics(ks),
            slice_metric=key_metrics(ks)[-1],
            pictures=pictures,
            variance_shown=variance,
            quality=inputs.index_quality,
            index_settings=varied(measured_points(inputs.index_quality or {})),
            index_verdict=verdict(inputs.index_quality or {}),
            refitted=any(line.get("phase") == "refit" for line in inputs.training_log),
            overlap=_overlap(evaluation.document),
            examples=[make_example(inputs, shown, int(query)) for query in picked],
            style=Markup(_STYLE.read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        )
    )


def _draw(
    evaluation: Evaluation, inputs: EvaluationInputs, slice_metric: str, seed: int
) -> tuple[Pictures, float]:
    cloud, variance = draw_embedding_map(inputs.test.embeddings, inputs.candidate_embeddings, seed)
    return Pictures(
        curves=_markup(draw_recall_curves(evaluation.runs)),
        slices=_markup(draw_slices(evaluation.document["systems"], slice_metric)),
        tradeoff=_markup(draw_tradeoff(inputs.index_quality or {})),
        embeddings=_markup(cloud),
        training=_markup(draw_training(inputs.training_log)),
    ), variance


def _markup(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)  # noqa: S704  (drawn here from numbers)


def _overlap(document: dict[str, Any]) -> tuple[str, float | None]:
    return next(
        (key, value) for key, value in document["funnel"].items() if key.startswith("ann_overlap@")
    )


def _environment() -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent=wording.percent,
        number=wording.number,
        duration=wording.duration,
        words=wording.words,
        in_words=wording.in_words,
        window=wording.window_in_words,
        label=label,
        thousands=lambda value: f"{value:,}",
    )
    return environment
