"""Teachers, whose scores of mined lists are distilled, and the data that they are fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.artifacts.layout import CROSS_ENCODER, REFIT_GLOB, TRAIN_GLOB
from tfrs_twotower.closed_form import bm25, ease
from tfrs_twotower.config import MiningConfig, RunConfig
from tfrs_twotower.data import loading, negative_lists, stored_examples, training_examples
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.lookup import row_of_token
from tfrs_twotower.mining import fitting_halves
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.cross_encoder import PairTexts


class Teacher(Protocol):
    """Scores candidates of training examples."""

    def __call__(self, examples: slice, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores of each example's candidates.

        Args:
            examples: positions in the example table.
            rows: `[batch, n]` corpus rows, each example's positive first; -1 for a missing
                candidate.

        Returns:
            `[batch, n]`; any number for a missing candidate.
        """


class EaseTeacher:
    """EASE of the history: the score of j is the sum of B_ij over the distinct candidates i.

    The example's positive is left out of its history. It can be there if purchases repeat, and
    would give a score that never occurs in serving, where seen candidates are not returned.
    """

    def __init__(
        self,
        table: training_examples.ExampleTable,
        num_candidates: int,
        histories: Sequence[str],
        row_of_token: NDArray[np.int32],
        *,
        l2: float,
    ) -> None:
        """Fits B on the positives of the examples.

        Args:
            table: the training examples.
            num_candidates: size of the corpus.
            histories: names of the history features.
            row_of_token: corpus row of each token of a history; -1 if there is none.
            l2: weight of the penalty.
        """
        chosen = ease.binary_matrix(
            table.query_rows, table.candidate_rows, len(table.query_ids), num_candidates
        )
        self._weights = ease.ease_weights(ease.co_occurrences(chosen), l2)
        self._table = table
        self._histories = tuple(histories)
        self._row_of_token = row_of_token

    def __call__(self, examples: slice, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores candidates; see `Teacher`."""
        tokens = [self._table.tokens[name][examples] for name in self._histories]
        history = np.sort(self._row_of_token[np.concatenate(tokens, axis=1)], axis=1)
        counted = history >= 0
        counted[:, 1:] &= history[:, 1:] != history[:, :-1]
        counted &= history != rows[:, :1]
        # Row -1 reads the last weight; `counted` and the caller discard it.
        picked = self._weights[history[:, :, None], rows[:, None, :]]
        return np.einsum("bh,bhn->bn", counted.astype(np.float32), picked)


class Bm25Teacher:
    """BM25 of the query's text."""

    def __init__(self, index: bm25.Bm25Index, texts: Sequence[str]) -> None:
        """Takes the index of the corpus, and the text of each training example's query."""
        self._index = index
        self._texts = texts

    def __call__(self, examples: slice, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores candidates; see `Teacher`."""
        texts = np.asarray(self._texts[examples], object)
        distinct, text_of = np.unique(texts, return_inverse=True)
        scores = np.empty(rows.shape, np.float32)
        for number, terms in enumerate(self._index.terms(distinct.tolist())):
            with_text = np.flatnonzero(text_of == number)
            scores[with_text] = self._index.scores(terms)[rows[with_text]]
        return scores


@dataclass(frozen=True)
class TeacherBuilder:
    """Builds the teacher that the config names.

    Attributes:
        spec: the feature spec.
        config: the run config; the settings of the baselines are read.
        mining: the mining section, which names the teacher.
        directory: directory of the preprocessed artifact.
        corpus: the candidates.
        output_dir: directory of the lists; a cross-encoder is written there, too.
        progress: receives what is being done, the amount done, and the total amount.
        checkpoint_root: where relative `checkpoint` directories start.
    """

    spec: FeatureSpec
    config: RunConfig
    mining: MiningConfig
    directory: Path
    corpus: Corpus
    output_dir: Path
    progress: fitting_halves.Progress
    checkpoint_root: Path = Path()

    def build(
        self,
        phase: negative_lists.Phase,
        table: training_examples.ExampleTable,
        assets: Assets,
        lists: negative_lists.NegativeLists | None = None,
    ) -> Teacher | None:
        """Builds the teacher for the examples of a phase; None if the config names none.

        `assets` are those of the towers that the examples were read for, and `lists` what these
        towers retrieve, which only a cross-encoder reads.

        Raises:
            ConfigError: the corpus is too large for the teacher, or texts for its checkpoint.
            TrainingError: the training of the teacher diverged.
        """
        if self.mining.teacher == "ease":
            return self._ease(table, assets)
        if self.mining.teacher == "bm25":
            return Bm25Teacher(self.text_index, query_texts(self.directory, self.spec, phase))
        if self.mining.teacher == "cross_encoder" and lists is not None:
            return self._cross_encoder(phase, table, assets, lists)
        return None

    def _cross_encoder(
        self,
        phase: negative_lists.Phase,
        table: training_examples.ExampleTable,
        assets: Assets,
        lists: negative_lists.NegativeLists,
    ) -> fitting_halves.FittedHalves:
        """A cross-encoder that is trained on the lists; that of the last phase stays on disk."""
        settings, pre_ranking = self.mining.cross_encoder, self.config.pre_ranking
        if pre_ranking is not None and pre_ranking.deterministic:
            tf.config.experimental.enable_op_determinism()
        texts = PairTexts(self.spec, assets, settings, self.checkpoint_root)
        candidates = texts.read("candidate", self.corpus.raw)
        return fitting_halves.fit_halves(
            self.spec,
            settings,
            fitting_halves.PairExamples(texts, table, lists, candidates),
            seed=self.config.seed,
            directory=self.output_dir / CROSS_ENCODER,
            checkpoint_root=self.checkpoint_root,
            progress=lambda what, done, total: self.progress(f"{what} ({phase})", done, total),
        )

    def _ease(self, table: training_examples.ExampleTable, assets: Assets) -> EaseTeacher:
        num_candidates, limit = len(self.corpus), self.config.evaluate.ease_max_candidates
        if num_candidates > limit:
            raise ConfigError(
                f"pre_ranking.mining.teacher is ease, but the corpus has {num_candidates:,} "
                f"candidates, more than evaluate.ease_max_candidates {limit:,}: EASE inverts a "
                "matrix of that order. Raise the limit, or choose another teacher."
            )
        return EaseTeacher(
            table,
            num_candidates,
            [history.name for history in self.spec.histories],
            row_of_token(self.spec, assets, self.corpus),
            l2=self.mining.ease_lambda,
        )

    @cached_property
    def text_index(self) -> bm25.Bm25Index:
        """BM25 of the texts of the corpus."""
        texts = loading.joined_texts(self.corpus.raw, self.spec.candidate.features) or []
        settings = self.config.evaluate
        return bm25.Bm25Index(texts, k1=settings.bm25_k1, b=settings.bm25_b)


def query_texts(directory: Path, spec: FeatureSpec, phase: negative_lists.Phase) -> list[str]:
    """The text of the query of each training example of a phase, in their order.

    Args:
        directory: directory of the preprocessed artifact.
        spec: the feature spec; the query side must have text.
        phase: `refit` has the examples of the validation window, too.
    """
    patterns = (TRAIN_GLOB,) if phase == "fit" else (TRAIN_GLOB, REFIT_GLOB)
    texts: list[str] = []
    for pattern in patterns:
        for batch in stored_examples.read_training_examples(directory, spec, pattern):
            texts += loading.joined_texts(batch["query"], spec.query.features) or []
    return texts
