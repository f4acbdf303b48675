"""Mines what the towers themselves learn from in the next round of training (ANCE, DANCE).

Lists come from exact search with the towers of the round before, or from BM25 before there are
any. They keep a window of ranks, without known positives and without what a teacher takes for a
false negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.artifacts import layout
from tfrs_twotower.config import AnceConfig, MiningConfig, RunConfig
from tfrs_twotower.data import assets, loading, negative_lists, stored_tables, training_examples
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.mining.mine import Progress, embed_corpus, examples_of, phases_of
from tfrs_twotower.mining.mined_queries import embed_queries, mine_queries
from tfrs_twotower.mining.positive_free import (
    PositiveFree,
    PositiveFreeBm25,
    PositiveFreeRetrieval,
    found_lists,
)
from tfrs_twotower.mining.teachers import TeacherBuilder, query_texts
from tfrs_twotower.specs import Feature, FeatureSpec
from tfrs_twotower.towers import storage
from tfrs_twotower.towers.tower import Towers


@dataclass(frozen=True)
class RoundPhase:
    """Facts about the negatives of one phase of a round.

    Attributes:
        phase: `fit` or `refit`.
        num_examples: number of lists.
        num_short: number of lists with fewer candidates than are drawn from them in a step.
        num_dropped: candidates that the teacher took for false negatives.
    """

    phase: negative_lists.Phase
    num_examples: int
    num_short: int
    num_dropped: int


def mine_round(
    spec: FeatureSpec,
    config: RunConfig,
    ance: AnceConfig,
    preprocessed_dir: Path,
    model_dir: Path | None,
    output_dir: Path,
    progress: Progress,
) -> list[RoundPhase]:
    """Writes the negatives of a round, in the format of `tfrs_twotower.data.negative_lists`.

    Those of `fit` come from towers that were not trained on the validation window, those of
    `refit` from the final towers of the round before. The list of an example leaves out all
    positives of its query in the phase and, with `split.known_candidates_only`, candidates without
    a training interaction. Equal inputs give equal bytes.

    Args:
        spec: the feature spec.
        config: the run config.
        ance: the section of the rounds.
        preprocessed_dir: a finished preprocessed artifact.
        model_dir: the towers of the round before; None mines with BM25.
        output_dir: an existing directory.
        progress: receives the progress after each chunk.

    Raises:
        ConfigError: the corpus is too large for the teacher.
        EmbeddingError: an embedding is not finite.
        ArtifactError: an artifact cannot be read, or does not fit the spec.
    """
    corpus = loading.load_corpus(preprocessed_dir, spec)
    rankable = np.ones(len(corpus), bool)
    if spec.split.known_candidates_only:
        rankable = stored_tables.known_candidates(preprocessed_dir, corpus)
    miner = _Miner(spec, config, ance, preprocessed_dir, corpus, rankable, output_dir, progress)
    mined = []
    for phase in phases_of(config):
        towers = None
        if model_dir is not None:
            first = phase == "fit" and config.training.refit
            weights = layout.FIRST_FIT_WEIGHTS if first else layout.WEIGHTS
            towers = storage.load_towers(model_dir, weights)
        mined.append(miner.mine(phase, towers))
    return mined


@dataclass(frozen=True)
class _Miner:
    """Mines the phases of a round; the attributes are those of `mine_round`."""

    spec: FeatureSpec
    config: RunConfig
    ance: AnceConfig
    preprocessed_dir: Path
    corpus: Corpus
    rankable: NDArray[np.bool_]
    output_dir: Path
    progress: Progress

    @cached_property
    def _teachers(self) -> TeacherBuilder:
        mining = MiningConfig(depth=self.ance.ranks[1], teacher=self.ance.teacher)
        return TeacherBuilder(
            self.spec,
            self.config,
            mining,
            self.preprocessed_dir,
            self.corpus,
            self.output_dir,
            self.progress,
        )

    def mine(self, phase: negative_lists.Phase, towers: Towers | None) -> RoundPhase:
        """Mines one phase, with BM25 where there are no towers."""
        tokeniser = _NoTokens() if towers is None else towers.query.inputs
        table = examples_of(phase, self.preprocessed_dir, self.spec, self.corpus, tokeniser)
        dual = towers is not None and self.config.training.terms.dual is not None
        first, last = self.ance.ranks
        lists = negative_lists.create_round_negatives(
            self.output_dir,
            phase,
            last - first + 1,
            num_examples=len(table),
            num_candidates=len(self.corpus) if dual else None,
        )
        retrieval: PositiveFree
        if towers is None:
            texts = query_texts(self.preprocessed_dir, self.spec, phase)
            index = self._teachers.text_index
            retrieval = PositiveFreeBm25(index, texts, self.rankable, last)
        else:
            report = partial(self.progress, f"embed candidates ({phase})")
            vectors = embed_corpus(towers, self.corpus, report)
            retrieval = PositiveFreeRetrieval(towers, vectors, self.rankable, last)
            if lists.queries is not None:
                lists.queries[:] = mine_queries(
                    table,
                    vectors,
                    embed_queries(table, towers),
                    self.ance.ranks,
                    partial(self.progress, f"mine queries ({phase})"),
                    seed=self.config.seed,
                )
        return self._fill(lists, phase, table, retrieval)

    def _fill(
        self,
        lists: negative_lists.RoundNegatives,
        phase: negative_lists.Phase,
        table: training_examples.ExampleTable,
        retrieval: PositiveFree,
    ) -> RoundPhase:
        every_id = assets.load_assets(self.preprocessed_dir)
        known_ids = every_id.of_first_fit() if phase == "fit" else every_id
        teacher = self._teachers.build(phase, table, known_ids)
        num_short = num_dropped = 0
        for part, rows, _ in found_lists(retrieval, table, len(self.corpus)):
            rows = rows[:, self.ance.ranks[0] - 1 :]
            if teacher is not None:
                positives = table.candidate_rows[part, None]
                scores = teacher(part, np.concatenate([positives, rows], axis=1))
                before = (rows >= 0).sum()
                rows = without_false_negatives(rows, scores, self.ance.teacher_margin)
                num_dropped += int(before - (rows >= 0).sum())
            lists.rows[part] = rows
            num_short += int(((rows >= 0).sum(axis=1) < self.ance.negatives).sum())
            self.progress(f"mine ({phase})", part.stop, len(table))
        return RoundPhase(phase, len(table), num_short, num_dropped)


class _NoTokens:
    """Reads examples without their features."""

    features: Sequence[Feature] = ()

    def tokenise(self, feature: Feature, values: tf.Tensor) -> tf.Tensor:
        """Never asked for."""
        raise NotImplementedError(feature.name)


def without_false_negatives(
    rows: NDArray[np.int32], scores: NDArray[np.floating], margin: float
) -> NDArray[np.int32]:
    """Drops the candidates that a teacher finds about as good as the positive.

    Args:
        rows: `[batch, n]` mined candidates, -1 for padding.
        scores: `[batch, 1 + n]` the teacher's scores of the positive and of `rows`.
        margin: candidates above t+ - margin |t+| are dropped, where t+ is the positive's score.

    Returns:
        `[batch, n]` the others in their order, then -1.
    """
    positive = scores[:, :1]
    kept = (rows >= 0) & (scores[:, 1:] <= positive - margin * np.abs(positive))
    order = np.argsort(~kept, axis=1, kind="stable")
    return np.take_along_axis(np.where(kept, rows, np.int32(-1)), order, axis=1)
