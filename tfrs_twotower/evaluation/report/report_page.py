"""The report page: one HTML file that needs nothing else, with some queries in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.evaluation import evaluated_data, evaluating
from tfrs_twotower.evaluation.report import rendering, stage_pictures, system_pictures
from tfrs_twotower.evaluation.report.leaderboard import (
    differences,
    headline,
    leaderboard,
    model_stages,
)
from tfrs_twotower.evaluation.systems import SystemRun, key_metrics
from tfrs_twotower.evaluation.verdict import verdict_of
from tfrs_twotower.specs import TEST

_TEMPLATE = Path(__file__).with_name("report.html")
_LIST_LENGTH = 10
_UNKNOWN = rendering.Origin()
_TITLE_LENGTH = 110


@dataclass(frozen=True)
class Pictures:
    """Inline SVG of every section; None if there is nothing to draw."""

    curves: Markup | None
    slices: Markup | None
    tradeoff: Markup | None
    embeddings: Markup | None
    training: Markup | None
    members: list[Markup]


def render_page(
    evaluation: evaluating.Evaluation,
    inputs: evaluated_data.EvaluationInputs,
    config: EvaluateConfig,
    seed: int,
    origin: rendering.Origin = _UNKNOWN,
) -> str:
    """The page as HTML text, with its style and pictures inside.

    Args:
        evaluation: the result.
        inputs: the evaluated data.
        config: list lengths and number of example queries.
        seed: picks example queries and drawn points.
        origin: command, documents and date.
    """
    ks = tuple(sorted(config.ks))
    document, runs = evaluation.document, evaluation.runs
    rows = leaderboard(document, ks)
    baselines = [row.system for row in rows if not row.is_model]
    stages, pool = model_stages(document), document.funnel.pool
    shown = {name: runs[name].ranked for name in (*reversed(stages), *baselines[:1])}
    picked = choose_queries(list(runs.values()), config.num_example_queries, seed)
    # Retrieval is judged by the recall of long lists; pre-ranking changes short ones.
    slice_metric = key_metrics(ks)[0 if "cascade" in stages else -1]
    pictures, variance = _draw(evaluation, inputs, [row.system for row in rows], slice_metric, seed)
    return rendering.render(
        _TEMPLATE,
        document=document,
        protocol=document.protocol.as_json(),
        headline=headline(document, ks, baselines),
        verdict=verdict_of(document),
        differences={
            stage: differences(document, stage, (row.system for row in rows)) for stage in stages
        },
        origin=origin,
        rows=rows,
        scale={
            metric: max(row.figures[metric].ci95[1] for row in rows) or 1.0
            for metric in key_metrics(ks)
        },
        metrics=key_metrics(ks),
        stages=stages,
        pool=pool,
        terms=stage_pictures.terms_of(inputs.training_log),
        member_terms=stage_pictures.terms_of([line for log in _members(inputs) for line in log]),
        slice_metric=slice_metric,
        pictures=pictures,
        variance_shown=variance,
        quality=inputs.index_quality,
        index_points=stage_pictures.measured_points(inputs.index_quality),
        index_taken=stage_pictures.taken_point(inputs.index_quality),
        index_settings=stage_pictures.varied(stage_pictures.measured_points(inputs.index_quality)),
        index_verdict=stage_pictures.verdict(inputs.index_quality),
        refitted=any(line.phase == "refit" for line in inputs.training_log),
        examples=[make_example(inputs, shown, int(query)) for query in picked],
    )


def _draw(
    evaluation: evaluating.Evaluation,
    inputs: evaluated_data.EvaluationInputs,
    systems: list[str],
    slice_metric: str,
    seed: int,
) -> tuple[Pictures, float]:
    cloud, variance = system_pictures.draw_embedding_map(
        inputs.test.embeddings, inputs.corpus.vectors, seed
    )
    return Pictures(
        curves=rendering.inline(
            system_pictures.draw_recall_curves({name: evaluation.runs[name] for name in systems})
        ),
        slices=rendering.inline(
            system_pictures.draw_slices(
                {name: evaluation.document.systems[name] for name in systems}, slice_metric
            )
        ),
        tradeoff=rendering.inline(stage_pictures.draw_tradeoff(inputs.index_quality)),
        embeddings=rendering.inline(cloud),
        training=rendering.inline(stage_pictures.draw_training(inputs.training_log)),
        members=[
            drawn
            for log in _members(inputs)
            if (drawn := rendering.inline(stage_pictures.draw_training(log))) is not None
        ],
    ), variance


def _members(inputs: evaluated_data.EvaluationInputs) -> list[list[evaluated_data.LogLine]]:
    """The training log of each member of the pre-ranker."""
    logs: dict[int, list[evaluated_data.LogLine]] = {}
    for line in inputs.second_stage.training_log if inputs.second_stage else []:
        logs.setdefault(line.member, []).append(line)
    return [logs[member] for member in sorted(logs)]


@dataclass(frozen=True)
class Listed:
    """One candidate in a list, by its title."""

    title: str
    relevant: bool


@dataclass(frozen=True)
class Example:
    """One query in words.

    Attributes:
        query_id: its id.
        text: the query's text; "" where it has none.
        history: titles of its latest earlier events, most recent first.
        num_events: number of earlier events.
        lists: the candidates that each system returned, best first.
        truth: the relevant candidates; first those that a list shows, then by falling gain.
        num_relevant: number of relevant candidates.
    """

    query_id: str
    text: str
    history: list[str]
    num_events: int
    lists: dict[str, list[Listed]]
    truth: list[Listed]
    num_relevant: int


def history_rows(inputs: evaluated_data.EvaluationInputs, query: int, limit: int) -> list[int]:
    """Corpus rows of a test query's latest distinct earlier candidates, most recent first."""
    log = inputs.log
    code = int(log.codes_of([inputs.test.ids[query]])[0])
    if code < 0:
        return []
    events = np.flatnonzero((log.query == code) & (log.split != TEST))
    events = events[np.argsort(-log.timestamp[events], kind="stable")]
    rows = list(dict.fromkeys(int(row) for row in log.candidate[events]))
    return rows[:limit]


def choose_queries(runs: Sequence[SystemRun], count: int, seed: int) -> NDArray[np.int64]:
    """Positions of example queries: a random sample, not chosen by results."""
    num_queries = len(runs[0].ranked)
    generator = np.random.default_rng(seed)
    return np.sort(generator.choice(num_queries, min(count, num_queries), replace=False))


def make_example(
    inputs: evaluated_data.EvaluationInputs,
    ranked: dict[str, NDArray[np.int64]],
    query: int,
    length: int = _LIST_LENGTH,
) -> Example:
    """One test query in words.

    Args:
        inputs: corpus, interactions, queries.
        ranked: `[num_queries, K]` rows of each system that is shown.
        query: position among the test queries.
        length: titles shown in each list.
    """
    test, corpus = inputs.test, inputs.corpus
    relevant = test.truth.relevant[query]
    start = test.truth.relevant.offsets[query]
    gains = test.truth.gains[start : start + len(relevant)]
    true_rows = {int(row) for row in relevant}
    returned = {int(row) for rows in ranked.values() for row in rows[query, :length]}
    by_gain = [int(row) for row in relevant[np.argsort(-gains, kind="stable")]]
    by_gain.sort(key=lambda row: row not in returned)
    return Example(
        query_id=test.ids[query],
        text=rendering.shorten(test.texts[query], 2 * _TITLE_LENGTH)
        if test.texts is not None
        else "",
        history=[
            rendering.shorten(corpus.name(row), _TITLE_LENGTH)
            for row in history_rows(inputs, query, length)
        ],
        num_events=int(test.num_events[query]),
        lists={
            name: [
                Listed(
                    rendering.shorten(corpus.name(int(row)), _TITLE_LENGTH), int(row) in true_rows
                )
                for row in rows[query, :length]
                if row >= 0
            ]
            for name, rows in ranked.items()
        },
        truth=[
            Listed(rendering.shorten(corpus.name(row), _TITLE_LENGTH), row in returned)
            for row in by_gain[:length]
        ],
        num_relevant=len(relevant),
    )
