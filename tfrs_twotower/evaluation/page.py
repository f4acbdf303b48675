"""The report page: one HTML file that needs nothing else."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation.evaluating import Evaluation
from tfrs_twotower.evaluation.examples import choose_queries, make_example
from tfrs_twotower.evaluation.headline import headline
from tfrs_twotower.evaluation.inputs import EvaluationInputs
from tfrs_twotower.evaluation.key_metrics import key_metrics
from tfrs_twotower.evaluation.leaderboard import leaderboard, model_stages
from tfrs_twotower.evaluation.pictures.embedding_map import draw_embedding_map
from tfrs_twotower.evaluation.pictures.index_tradeoff import (
    draw_tradeoff,
    measured_points,
    varied,
    verdict,
)
from tfrs_twotower.evaluation.pictures.recall_curves import draw_recall_curves
from tfrs_twotower.evaluation.pictures.slice_dots import draw_slices
from tfrs_twotower.evaluation.pictures.training_curves import draw_training, terms_of
from tfrs_twotower.evaluation.templates import inline, render


@dataclass(frozen=True)
class Pictures:
    """Inline SVG of every section; None where there is nothing to draw."""

    curves: Markup | None
    slices: Markup | None
    tradeoff: Markup | None
    embeddings: Markup | None
    training: Markup | None
    members: list[Markup]


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
    stages, pool = model_stages(evaluation.document), evaluation.document["funnel"]["pool"]
    shown = {name: runs[name].ranked for name in (*reversed(stages), *rivals[:1])}
    picked = choose_queries(list(runs.values()), config.num_example_queries, seed)
    # What retrieval finds is recall of long lists; what ranks after it changes short ones.
    slice_metric = key_metrics(ks)[0 if "cascade" in stages else -1]
    pictures, variance = _draw(evaluation, inputs, [row.system for row in rows], slice_metric, seed)
    return render(
        "report.html",
        document=evaluation.document,
        headline=headline(evaluation.document, ks, rivals),
        rows=rows,
        scale={
            metric: max(row.figures[metric]["ci95"][1] for row in rows) or 1.0
            for metric in key_metrics(ks)
        },
        metrics=key_metrics(ks),
        stages=stages,
        pool=pool,
        ceiling=pool and pool[f"recall@{pool['num_candidates']}"],
        terms=terms_of(inputs.training_log),
        member_terms=terms_of([line for log in _members(inputs) for line in log]),
        slice_metric=slice_metric,
        pictures=pictures,
        variance_shown=variance,
        quality=inputs.index_quality,
        index_settings=varied(measured_points(inputs.index_quality or {})),
        index_verdict=verdict(inputs.index_quality or {}),
        refitted=any(line.get("phase") == "refit" for line in inputs.training_log),
        overlap=_overlap(evaluation.document),
        examples=[make_example(inputs, shown, int(query)) for query in picked],
    )


def _draw(
    evaluation: Evaluation,
    inputs: EvaluationInputs,
    systems: list[str],
    slice_metric: str,
    seed: int,
) -> tuple[Pictures, float]:
    cloud, variance = draw_embedding_map(inputs.test.embeddings, inputs.candidate_embeddings, seed)
    return Pictures(
        curves=inline(draw_recall_curves({name: evaluation.runs[name] for name in systems})),
        slices=inline(
            draw_slices(
                {name: evaluation.document["systems"][name] for name in systems}, slice_metric
            )
        ),
        tradeoff=inline(draw_tradeoff(inputs.index_quality or {})),
        embeddings=inline(cloud),
        training=inline(draw_training(inputs.training_log)),
        members=[
            drawn for log in _members(inputs) if (drawn := inline(draw_training(log))) is not None
        ],
    ), variance


def _members(inputs: EvaluationInputs) -> list[list[dict[str, Any]]]:
    """The training log of each member of the pre-ranker."""
    logs: dict[int, list[dict[str, Any]]] = {}
    for line in inputs.second_stage.training_log if inputs.second_stage else []:
        logs.setdefault(int(line.get("member") or 0), []).append(line)
    return [logs[member] for member in sorted(logs)]


def _overlap(document: dict[str, Any]) -> tuple[str, float | None]:
    return next(
        (key, value) for key, value in document["funnel"].items() if key.startswith("ann_overlap@")
    )
