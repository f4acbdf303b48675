"""What teachers learn from: the positives of a phase, or the texts of both sides."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tfrs_twotower.artifacts.layout import FRESH_GLOB, TRAIN_GLOB
from tfrs_twotower.closed_form.bm25 import Bm25Index
from tfrs_twotower.config import MiningConfig, RunConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.example_table import ExampleTable
from tfrs_twotower.data.examples import read_training_examples
from tfrs_twotower.data.negative_lists import Phase
from tfrs_twotower.data.texts import joined_texts
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.history_rows import row_of_token
from tfrs_twotower.mining.teachers import Bm25Teacher, EaseTeacher, Teacher
from tfrs_twotower.specs import FeatureSpec


@dataclass(frozen=True)
class Lessons:
    """Makes the teacher that a config asks for.

    Attributes:
        spec: the feature spec.
        config: the run config; the baselines' settings are read.
        mining: which teacher.
        directory: of the preprocessed artifact.
        corpus: its candidates.
        assets: the towers' vocabularies.
    """

    spec: FeatureSpec
    config: RunConfig
    mining: MiningConfig
    directory: Path
    corpus: Corpus
    assets: Assets

    def teacher(self, phase: Phase, table: ExampleTable) -> Teacher | None:
        """The teacher of a phase's examples, None if there is to be none.

        Raises:
            ConfigError: the corpus is too large for it.
        """
        if self.mining.teacher == "ease":
            return self._ease(table)
        if self.mining.teacher == "bm25":
            return Bm25Teacher(self._text_index, self._query_texts(phase))
        return None

    def _ease(self, table: ExampleTable) -> EaseTeacher:
        num_candidates, most = len(self.corpus), self.config.evaluate.ease_max_candidates
        if num_candidates > most:
            raise ConfigError(
                f"pre_ranking.mining.teacher is ease, but the corpus has {num_candidates:,} "
                f"candidates, more than evaluate.ease_max_candidates {most:,}: EASE inverts a "
                "matrix of that order. Raise the limit, or choose another teacher."
            )
        return EaseTeacher(
            table,
            num_candidates,
            [history.name for history in self.spec.histories],
            row_of_token(self.spec, self.assets, self.corpus),
            l2=self.mining.ease_lambda,
        )

    @cached_property
    def _text_index(self) -> Bm25Index:
        texts = joined_texts(self.corpus.raw, self.spec.candidate.features) or []
        settings = self.config.evaluate
        return Bm25Index(texts, k1=settings.bm25_k1, b=settings.bm25_b)

    def _query_texts(self, phase: Phase) -> list[str]:
        patterns = (TRAIN_GLOB,) if phase == "fit" else (TRAIN_GLOB, FRESH_GLOB)
        texts: list[str] = []
        for pattern in patterns:
            batches = read_training_examples(self.directory, self.spec, pattern)
            for batch in batches.as_numpy_iterator():
                texts += joined_texts(batch["query"], self.spec.query.features) or []
        return texts
