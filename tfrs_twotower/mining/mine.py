"""Mines lists of negatives with trained towers, and writes them to disk."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.artifacts import layout
from tfrs_twotower.config import MiningConfig, RunConfig
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.data.negative_lists import NegativeLists, Phase, create_negative_lists
from tfrs_twotower.data.preprocessed import load_corpus
from tfrs_twotower.data.training_examples import ExampleTable, concatenate, load_example_table
from tfrs_twotower.mining.positive_free import CHUNK, PositiveFreeRetrieval, embed_corpus
from tfrs_twotower.mining.teachers import Teacher, TeacherBuilder
from tfrs_twotower.ranking.ragged import Ragged, distinct_pairs
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.storage import load_towers

Progress = Callable[[str, int, int | None], None]
"""Receives what is being done, the amount done, and the total amount (None if unknown)."""


@dataclass(frozen=True)
class MinedPhase:
    """Facts about the lists of one phase.

    Attributes:
        phase: `fit` or `refit`.
        num_examples: number of lists.
        num_short: number of lists with fewer candidates than `depth`.
        share_in_list: share of the positives that retrieval would put on their own list.
        mean_rank_in_list: mean rank of these positives, from 1; None if there are none.
    """

    phase: Phase
    num_examples: int
    num_short: int
    share_in_list: float
    mean_rank_in_list: float | None


def mine(
    spec: FeatureSpec,
    config: RunConfig,
    mining: MiningConfig,
    preprocessed_dir: Path,
    model_dir: Path,
    output_dir: Path,
    progress: Progress,
) -> list[MinedPhase]:
    """Writes the lists of every phase (files: `tfrs_twotower.data.negative_lists`).

    The lists of `fit` come from towers that were not trained on the validation window, those of
    `refit` from the final towers. The list of an example leaves out all positives of its query in
    the phase and, with `split.known_candidates_only`, candidates without a training interaction.

    Args:
        spec: the feature spec.
        config: the run config; `training.refit` and the baselines' settings are read.
        mining: length of the lists, and the teacher.
        preprocessed_dir: a finished preprocessed artifact.
        model_dir: the towers that were trained on it.
        output_dir: an existing directory.
        progress: receives the progress after each chunk.

    Raises:
        ConfigError: the corpus is too large for the teacher.
        EmbeddingError: an embedding is not finite.
        ArtifactError: an artifact cannot be read, or does not fit the spec.
    """
    corpus = load_corpus(preprocessed_dir, spec)
    teachers = TeacherBuilder(
        spec, config, mining, preprocessed_dir, corpus, load_assets(model_dir)
    )
    mined: list[MinedPhase] = []
    table: ExampleTable | None = None
    rankable = np.ones(len(corpus), bool)
    phases: tuple[Phase, ...] = ("fit", "refit") if config.training.refit else ("fit",)
    for phase in phases:
        weights = layout.FIRST_FIT_WEIGHTS if phase != phases[-1] else layout.WEIGHTS
        towers = load_towers(model_dir, weights)
        read = partial(
            load_example_table,
            preprocessed_dir,
            spec,
            corpus,
            towers.query.inputs,
            report=lambda done: progress("read examples", done, None),
        )
        if table is None:
            table = read(layout.TRAIN_GLOB)
            if spec.split.known_candidates_only:
                rankable = np.bincount(table.candidate_rows, minlength=len(corpus)) > 0
        else:
            table = concatenate(table, read(layout.REFIT_GLOB))
        vectors = embed_corpus(towers, corpus, partial(progress, f"embed candidates ({phase})"))
        retrieval = PositiveFreeRetrieval(towers, vectors, rankable, mining.depth)
        lists = create_negative_lists(
            output_dir, phase, len(table), mining.depth, with_teacher=mining.teacher != "none"
        )
        teacher = teachers.build(phase, table)
        report = partial(progress, f"mine ({phase})")
        mined.append(_fill(lists, phase, table, len(corpus), retrieval, teacher, report))
    return mined


def _fill(
    lists: NegativeLists,
    phase: Phase,
    table: ExampleTable,
    num_candidates: int,
    retrieval: PositiveFreeRetrieval,
    teacher: Teacher | None,
    progress: Callable[[int, int], None],
) -> MinedPhase:
    known = Ragged(
        *distinct_pairs(
            table.query_rows,
            table.candidate_rows,
            num_queries=len(table.query_ids),
            num_candidates=num_candidates,
        )
    )
    num_short = num_inside = sum_of_ranks = 0
    for start in range(0, len(table), CHUNK):
        part = slice(start, min(start + CHUNK, len(table)))
        positives = table.candidate_rows[part]
        rows, scores = retrieval.lists(
            {name: values[part] for name, values in table.tokens.items()},
            positives,
            known.take(table.query_rows[part]),
        )
        lists.rows[part], lists.scores[part] = rows, scores
        if teacher is not None and lists.teacher is not None:
            scored = np.concatenate([positives[:, None], rows], axis=1)
            lists.teacher[part] = np.where(scored >= 0, teacher(part, scored), 0.0)
        ranks = _ranks(positives, rows, scores)
        inside = ranks <= rows.shape[1]
        num_short += int((rows[:, -1] < 0).sum())
        num_inside += int(inside.sum())
        sum_of_ranks += int(ranks[inside].sum())
        progress(part.stop, len(table))
    return MinedPhase(
        phase,
        len(table),
        num_short,
        num_inside / len(table),
        sum_of_ranks / num_inside if num_inside else None,
    )


def _ranks(
    positives: NDArray[np.int32], rows: NDArray[np.int32], scores: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Returns the rank that each positive would have on its list, from 1; depth + 1 if none."""
    own, others = scores[:, :1], scores[:, 1:]
    ahead = (others > own) | ((others == own) & (rows < positives[:, None]))
    return 1 + (ahead & (rows >= 0)).sum(axis=1)
