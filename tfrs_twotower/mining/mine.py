"""Mining: writes what retrieval returns for each training example, without known positives."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.artifacts import layout
from tfrs_twotower.config import MiningConfig, RunConfig
from tfrs_twotower.data import assets, loading, negative_lists, stored_tables, training_examples
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.errors import EmbeddingError
from tfrs_twotower.mining.positive_free import (
    CHUNK,
    PositiveFree,
    PositiveFreeRetrieval,
    PositiveFreeWords,
    found_lists,
)
from tfrs_twotower.mining.teachers import Teacher, TeacherBuilder, query_texts
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers import storage, tower

Progress = Callable[[str, int, int | None], None]
"""Receives what is being done, the amount done, and the total amount (None if unknown)."""


def embed_corpus(
    towers: tower.Towers, corpus: Corpus, progress: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """Embeds the corpus: `[num_candidates, embedding_dim]`, in row order.

    Args:
        towers: the candidate tower embeds the candidates.
        corpus: the candidates.
        progress: receives the number of embedded candidates and the total after each chunk.

    Raises:
        EmbeddingError: an embedding is not finite.
    """
    embed = tf.function(
        lambda tokens: towers.candidate.embed_tokens(tokens, training=False),
        autograph=False,
        reduce_retracing=True,
    )
    parts = []
    for raw in corpus.batches(CHUNK):
        parts.append(embed(towers.candidate.inputs(raw)).numpy())
        progress(min(len(parts) * CHUNK, len(corpus)), len(corpus))
    vectors = np.concatenate(parts)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise EmbeddingError(
            f"found {len(bad)} candidates whose embedding is not finite, such as "
            f"{corpus.ids[bad[0]]!r}. Look at their features, then train again."
        )
    return vectors


@dataclass(frozen=True)
class MinedPhase:
    """Facts about the lists of one phase.

    Where retrieval ranks the positives is not among them: it has learned these examples, so such a
    figure would say how well it remembers.

    Attributes:
        phase: `fit` or `refit`.
        num_examples: number of lists.
        num_short: number of lists with fewer candidates than `depth`.
    """

    phase: negative_lists.Phase
    num_examples: int
    num_short: int


def mine(
    spec: FeatureSpec,
    config: RunConfig,
    mining: MiningConfig,
    preprocessed_dir: Path,
    model_dir: Path,
    output_dir: Path,
    progress: Progress,
    *,
    words: Lexical | None = None,
    checkpoint_root: Path = Path(),
) -> list[MinedPhase]:
    """Writes the lists of every phase, in the format of `tfrs_twotower.data.negative_lists`.

    The lists of `fit` come from towers that were not trained on the validation window, those of
    `refit` from the final towers. The list of an example leaves out all positives of its query in
    the phase and, with `split.known_candidates_only`, candidates without a training interaction.

    Args:
        spec: the feature spec.
        config: the run config; `seed`, `training.refit`, `pre_ranking.deterministic`,
            `embed.width` and the baselines' settings are read.
        mining: length of the lists, and the teacher.
        preprocessed_dir: a finished preprocessed artifact.
        model_dir: the towers that were trained on it.
        output_dir: an existing directory.
        progress: receives the progress after each chunk.
        words: what retrieval searches words with, if it does.
        checkpoint_root: directory to which `checkpoint` paths of the spec are relative.

    Raises:
        ConfigError: the corpus is too large for the teacher, or texts for its checkpoint.
        TrainingError: the training of the teacher diverged.
        EmbeddingError: an embedding is not finite.
        ArtifactError: an artifact cannot be read, or does not fit the spec.
    """
    corpus = loading.load_corpus(preprocessed_dir, spec)
    teachers = TeacherBuilder(
        spec, config, mining, preprocessed_dir, corpus, output_dir, progress, checkpoint_root
    )
    every_id = assets.load_assets(model_dir)
    mined: list[MinedPhase] = []
    rankable = np.ones(len(corpus), bool)
    if spec.split.known_candidates_only:
        rankable = stored_tables.known_candidates(preprocessed_dir, corpus)
    phases = phases_of(config)
    for phase in phases:
        weights = layout.FIRST_FIT_WEIGHTS if phase != phases[-1] else layout.WEIGHTS
        towers = storage.load_towers(model_dir, weights, width=config.embed.width)
        table = examples_of(
            phase,
            preprocessed_dir,
            spec,
            corpus,
            towers.query.inputs,
            report=lambda done: progress("read examples", done, None),
        )
        known = every_id if phase == "refit" else every_id.of_first_fit()
        vectors = embed_corpus(towers, corpus, partial(progress, f"embed candidates ({phase})"))
        retrieval: PositiveFree
        if words is None:
            retrieval = PositiveFreeRetrieval(towers, vectors, rankable, mining.depth)
        else:
            texts = query_texts(preprocessed_dir, spec, phase)
            retrieval = PositiveFreeWords(words, towers, vectors, rankable, mining.depth, texts)
        lists = negative_lists.create_negative_lists(
            output_dir, phase, len(table), mining.depth, with_teacher=mining.teacher != "none"
        )
        report = partial(progress, f"mine ({phase})")
        mined.append(_fill(lists, phase, table, len(corpus), retrieval, report))
        teacher = teachers.build(phase, table, known, lists)
        if teacher is not None:
            _ask(teacher, lists, table, partial(progress, f"ask the teacher ({phase})"))
    return mined


def phases_of(config: RunConfig) -> tuple[negative_lists.Phase, ...]:
    """The phases of training, each of which has lists of its own."""
    return ("fit", "refit") if config.training.refit else ("fit",)


def examples_of(
    phase: negative_lists.Phase,
    preprocessed_dir: Path,
    spec: FeatureSpec,
    corpus: Corpus,
    tokeniser: training_examples.Tokeniser,
    report: Callable[[int], None] | None = None,
) -> training_examples.ExampleTable:
    """The examples that a phase learns from; see `training_examples.load_example_table`."""
    read = partial(
        training_examples.load_example_table,
        preprocessed_dir,
        spec,
        corpus,
        tokeniser,
        report=report,
    )
    table = read(layout.TRAIN_GLOB)
    if phase == "fit":
        return table
    return training_examples.concatenate(table, read(layout.REFIT_GLOB))


def _fill(
    lists: negative_lists.NegativeLists,
    phase: negative_lists.Phase,
    table: training_examples.ExampleTable,
    num_candidates: int,
    retrieval: PositiveFree,
    progress: Callable[[int, int], None],
) -> MinedPhase:
    num_short = 0
    for part, rows, scores in found_lists(retrieval, table, num_candidates):
        lists.rows[part], lists.scores[part] = rows, scores
        num_short += int((rows[:, -1] < 0).sum())
        progress(part.stop, len(table))
    return MinedPhase(phase, len(table), num_short)


def _ask(
    teacher: Teacher,
    lists: negative_lists.NegativeLists,
    table: training_examples.ExampleTable,
    progress: Callable[[int, int], None],
) -> None:
    """Writes the teacher's scores of the lists and their positives."""
    assert lists.teacher is not None
    for start in range(0, len(table), CHUNK):
        part = slice(start, min(start + CHUNK, len(table)))
        scored = np.concatenate([table.candidate_rows[part][:, None], lists.rows[part]], axis=1)
        lists.teacher[part] = np.where(scored >= 0, teacher(part, scored), 0.0)
        progress(part.stop, len(table))
