"""Mining: writes what retrieval returns for each training example, without known positives."""

from collections.abc import Callable, Sequence
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
from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.first_lists import WordLists
from tfrs_twotower.mining.teachers import Teacher, TeacherBuilder, query_texts
from tfrs_twotower.ranking.ragged import Ragged, distinct_pairs
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers import storage, tower

CHUNK = 512
"""Number of records in one forward pass."""
Progress = Callable[[str, int, int | None], None]
"""Receives what is being done, the amount done, and the total amount (None if unknown)."""


class PositiveFreeRetrieval:
    """Exact search over the rankable candidates, without known positives."""

    def __init__(
        self,
        towers: tower.Towers,
        vectors: NDArray[np.float32],
        rankable: NDArray[np.bool_],
        depth: int,
    ) -> None:
        """Prepares the search.

        Args:
            towers: the query tower embeds the queries.
            vectors: `[num_candidates, embedding_dim]`, in row order.
            rankable: `[num_candidates]` bool, candidates that may be ranked; at least one.
            depth: length of the lists.
        """
        self._rows = np.flatnonzero(rankable).astype(np.int32)
        self._position_of_row = np.full(len(rankable), -1, np.int64)
        self._position_of_row[self._rows] = np.arange(len(self._rows))
        search = ExactSearch(vectors[self._rows])
        corpus = tf.constant(vectors)

        def retrieve(
            tokens: Tokens, positives: tf.Tensor, excluded: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            embeddings = towers.query.embed_tokens(tokens, training=False)
            positive_scores = tf.reduce_sum(embeddings * tf.gather(corpus, positives), axis=1)
            return positive_scores, *search.search(embeddings, depth, excluded)

        self._retrieve = tf.function(retrieve, autograph=False, reduce_retracing=True)

    def lists(
        self,
        tokens: dict[str, NDArray[np.generic]],
        positives: NDArray[np.integer],
        known_positives: Ragged,
        examples: slice = slice(0),
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Retrieves the lists of some examples.

        Args:
            tokens: `[batch, ...]` inputs of the query tower, by name.
            positives: `[batch]` corpus row of each example's positive.
            known_positives: one list of rows for each example; these rows are left out.
            examples: positions in the example table, which only a search of words reads.

        Returns:
            Rows `[batch, depth]`, by score descending, then row ascending, -1 at the end of a short
            list; scores `[batch, 1 + depth]` of the positive and of the rows, 0 at missing rows.
        """
        del examples
        places = self._position_of_row[known_positives.values].astype(np.int64)
        positions = Ragged(known_positives.offsets, places)
        positive_scores, scores, found = self._retrieve(
            {name: tf.constant(values) for name, values in tokens.items()},
            tf.constant(positives, tf.int32),
            tf.constant(positions.padded()),
        )
        found = found.numpy()
        present = found >= 0
        rows = np.where(present, self._rows[np.maximum(found, 0)], np.int32(-1))
        scores = np.where(present, scores.numpy(), np.float32(0.0))
        return rows, np.concatenate([positive_scores.numpy()[:, None], scores], axis=1)


class PositiveFreeWords:
    """Retrieval by a first stage that searches words, without known positives."""

    def __init__(
        self,
        words: Lexical,
        towers: tower.Towers,
        vectors: NDArray[np.float32],
        rankable: NDArray[np.bool_],
        depth: int,
        texts: Sequence[str],
    ) -> None:
        """Prepares the search; see `PositiveFreeRetrieval`.

        `words` is what is searched with, and `texts` the text of each training example's query.
        """
        self._lists = WordLists(words, vectors, depth, rankable)
        self._texts = texts
        self._embed = tf.function(
            lambda tokens: towers.query.embed_tokens(tokens, training=False),
            autograph=False,
            reduce_retracing=True,
        )

    def lists(
        self,
        tokens: dict[str, NDArray[np.generic]],
        positives: NDArray[np.integer],
        known_positives: Ragged,
        examples: slice,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Retrieves the lists of some examples; see `PositiveFreeRetrieval.lists`."""
        embeddings = self._embed({name: tf.constant(values) for name, values in tokens.items()})
        found = self._lists.find(
            embeddings.numpy(), self._texts[examples], known_positives, positives[:, None]
        )
        return found.rows, np.concatenate([found.listed, found.scores], axis=1)


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
) -> list[MinedPhase]:
    """Writes the lists of every phase, in the format of `tfrs_twotower.data.negative_lists`.

    The lists of `fit` come from towers that were not trained on the validation window, those of
    `refit` from the final towers. The list of an example leaves out all positives of its query in
    the phase and, with `split.known_candidates_only`, candidates without a training interaction.

    Args:
        spec: the feature spec.
        config: the run config; `training.refit`, `embed.width` and the baselines' settings are
            read.
        mining: length of the lists, and the teacher.
        preprocessed_dir: a finished preprocessed artifact.
        model_dir: the towers that were trained on it.
        output_dir: an existing directory.
        progress: receives the progress after each chunk.
        words: what retrieval searches words with, if it does.

    Raises:
        ConfigError: the corpus is too large for the teacher.
        EmbeddingError: an embedding is not finite.
        ArtifactError: an artifact cannot be read, or does not fit the spec.
    """
    corpus = loading.load_corpus(preprocessed_dir, spec)
    teachers = TeacherBuilder(spec, config, mining, preprocessed_dir, corpus)
    every_id = assets.load_assets(model_dir)
    mined: list[MinedPhase] = []
    rankable = np.ones(len(corpus), bool)
    if spec.split.known_candidates_only:
        rankable = stored_tables.known_candidates(preprocessed_dir, corpus)
    phases: tuple[negative_lists.Phase, ...] = (
        ("fit", "refit") if config.training.refit else ("fit",)
    )
    for phase in phases:
        weights = layout.FIRST_FIT_WEIGHTS if phase != phases[-1] else layout.WEIGHTS
        towers = storage.load_towers(model_dir, weights, width=config.embed.width)
        read = partial(
            training_examples.load_example_table,
            preprocessed_dir,
            spec,
            corpus,
            towers.query.inputs,
            report=lambda done: progress("read examples", done, None),
        )
        table, known = read(layout.TRAIN_GLOB), every_id.of_first_fit()
        if phase == "refit":
            table, known = training_examples.concatenate(table, read(layout.REFIT_GLOB)), every_id
        vectors = embed_corpus(towers, corpus, partial(progress, f"embed candidates ({phase})"))
        retrieval: PositiveFreeRetrieval | PositiveFreeWords
        if words is None:
            retrieval = PositiveFreeRetrieval(towers, vectors, rankable, mining.depth)
        else:
            texts = query_texts(preprocessed_dir, spec, phase)
            retrieval = PositiveFreeWords(words, towers, vectors, rankable, mining.depth, texts)
        lists = negative_lists.create_negative_lists(
            output_dir, phase, len(table), mining.depth, with_teacher=mining.teacher != "none"
        )
        teacher = teachers.build(phase, table, known)
        report = partial(progress, f"mine ({phase})")
        mined.append(_fill(lists, phase, table, len(corpus), retrieval, teacher, report))
    return mined


def _fill(
    lists: negative_lists.NegativeLists,
    phase: negative_lists.Phase,
    table: training_examples.ExampleTable,
    num_candidates: int,
    retrieval: PositiveFreeRetrieval | PositiveFreeWords,
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
    num_short = 0
    for start in range(0, len(table), CHUNK):
        part = slice(start, min(start + CHUNK, len(table)))
        positives = table.candidate_rows[part]
        rows, scores = retrieval.lists(
            {name: values[part] for name, values in table.tokens.items()},
            positives,
            known.take(table.query_rows[part]),
            part,
        )
        lists.rows[part], lists.scores[part] = rows, scores
        if teacher is not None and lists.teacher is not None:
            scored = np.concatenate([positives[:, None], rows], axis=1)
            lists.teacher[part] = np.where(scored >= 0, teacher(part, scored), 0.0)
        num_short += int((rows[:, -1] < 0).sum())
        progress(part.stop, len(table))
    return MinedPhase(phase, len(table), num_short)
