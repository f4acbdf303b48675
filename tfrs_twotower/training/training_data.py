"""Reads the inputs of training as tokens: examples, corpus, validation queries, mined lists."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.artifacts.layout import REFIT_GLOB, TRAIN_GLOB
from tfrs_twotower.config import TrainingConfig
from tfrs_twotower.data import (
    loading,
    negative_lists,
    query_set,
    stored_tables,
    training_examples,
)
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.specs import TRAIN, VALIDATION, FeatureSpec
from tfrs_twotower.towers.tower import Tower, Towers
from tfrs_twotower.training.plan import time_decay

_CHUNK = 4096
_LIST_STREAM = 1 << 32  # distinct from other uses of the run's seed, which count from 1


class Window(NamedTuple):
    """What towers are trained on, as tokens of towers that know the ids of this window."""

    table: training_examples.ExampleTable
    corpus_tokens: dict[str, tf.Tensor]
    """`[num_candidates, ...]` by name."""


@dataclass(frozen=True)
class TrainingData:
    """Reads one preprocessed artifact.

    Attributes:
        directory: directory of the artifact.
        spec: the feature spec.
        corpus: the candidates.
        window: ends of the training and validation windows, in seconds or None.
        config: how examples are weighted.
    """

    directory: Path
    spec: FeatureSpec
    corpus: Corpus
    window: dict[str, Any]
    config: TrainingConfig

    def examples(
        self, query_tower: Tower, *, with_validation_window: bool
    ) -> training_examples.ExampleTable:
        """Reads the training examples, optionally with those of the validation window.

        The weight of an example is its weight in the data times the time decay.
        """
        table = self._read(query_tower, TRAIN_GLOB)
        end_s = self.window.get("train_end")
        if with_validation_window:
            table = training_examples.concatenate(table, self._read(query_tower, REFIT_GLOB))
            end_s = self.window.get("validation_end")
        half_life_days = self.config.time_decay_half_life_days
        if half_life_days is None:
            return table
        if end_s is None:
            end_s = int(table.timestamps.max())
        decay = time_decay(table.timestamps, half_life_days=half_life_days, end_s=end_s)
        return replace(table, weights=table.weights * decay)

    def read_window(self, towers: Towers, *, with_validation_window: bool) -> Window:
        """Reads the examples of a window and the candidates, as these towers know them."""
        table = self.examples(towers.query, with_validation_window=with_validation_window)
        return Window(table, self.corpus_tokens(towers.candidate))

    def all_pairs(
        self, *, with_validation_window: bool
    ) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Query and candidate row of every event of a window, whatever its label: `[num_events]`.

        The numbers of the queries are not those of `examples`.
        """
        windows = (TRAIN, VALIDATION) if with_validation_window else (TRAIN,)
        return stored_tables.event_pairs(self.directory, self.corpus, windows)

    def corpus_tokens(self, candidate_tower: Tower) -> dict[str, tf.Tensor]:
        """Returns tokens `[num_candidates, ...]` of the candidate tower, by name."""
        return _tokens(candidate_tower, self.corpus.raw)

    def counts(self, table: training_examples.ExampleTable) -> NDArray[np.int64]:
        """Returns `[num_candidates]`, the number of examples of each candidate."""
        return np.bincount(table.candidate_rows, minlength=len(self.corpus)).astype(np.int64)

    def validation_queries(
        self, query_tower: Tower, most: int, *, seed: int
    ) -> query_set.QuerySet | None:
        """A fixed sample of the validation queries; None if the split has none.

        They have tokens and, where the query side has text, texts.
        """
        if not read_manifest(self.directory, "preprocessed").counts.get("validation_queries"):
            return None
        queries, _ = loading.load_sample(
            self.directory, "validation", self.spec, self.corpus, most, seed
        )
        if self.spec.split.known_candidates_only:
            known = stored_tables.known_candidates(self.directory, self.corpus)
            queries = replace(queries, rankable=known)
        texts = loading.joined_texts(queries.inputs, self.spec.query.features)
        tokens = _tokens(query_tower, queries.inputs)
        inputs = {name: value.numpy() for name, value in tokens.items()}
        return replace(queries, inputs=inputs, texts=texts)

    def _read(self, query_tower: Tower, pattern: str) -> training_examples.ExampleTable:
        return training_examples.load_example_table(
            self.directory, self.spec, self.corpus, query_tower.inputs, pattern
        )


def open_training_data(
    directory: Path, spec: FeatureSpec, config: TrainingConfig, assets: Assets
) -> TrainingData:
    """Reads the corpus of a preprocessed artifact; examples and queries are read on demand."""
    window = assets.statistics.get("window") or {}
    return TrainingData(directory, spec, loading.load_corpus(directory, spec), window, config)


def _tokens(tower: Tower, raw: Mapping[str, NDArray[Any]]) -> dict[str, tf.Tensor]:
    size = len(next(iter(raw.values())))
    parts = [
        tower.inputs(
            {name: tf.constant(values[start : start + _CHUNK]) for name, values in raw.items()}
        )
        for start in range(0, size, _CHUNK)
    ]
    return {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}


@dataclass(frozen=True)
class ListedExamples:
    """Examples, each with a few of its mined candidates, which are drawn anew in every step.

    Attributes:
        table: the examples.
        lists: the lists that were mined for them, in the same order; may be on disk.
        list_size: number of candidates drawn for an example; all if its list is shorter.
        seed: seed of the draws.
    """

    table: training_examples.ExampleTable
    lists: negative_lists.NegativeLists
    list_size: int
    seed: int

    def __len__(self) -> int:
        return len(self.table)

    @property
    def groups(self) -> None:
        """The examples share no work, so that their order is free."""

    def batch(self, positions: NDArray[np.integer], step: int) -> dict[str, Any]:
        """Returns the batch of the table with `listed_rows` and, with a teacher, `teacher`."""
        batch = self.table.batch(positions, step)
        rows, teacher = self.lists.rows[positions], self.lists.teacher
        random = np.random.Generator(np.random.Philox(key=[self.seed, _LIST_STREAM + step]))
        drawn = negative_lists.draw_places(rows, self.list_size, random)
        batch["listed_rows"] = np.take_along_axis(rows, drawn, axis=1)
        if teacher is not None:
            scores = teacher[positions]
            of_drawn = np.take_along_axis(scores[:, 1:], drawn, axis=1)
            batch["teacher"] = np.concatenate([scores[:, :1], of_drawn], axis=1)
        return batch


def read_listed_examples(
    directory: Path,
    phase: negative_lists.Phase,
    table: training_examples.ExampleTable,
    *,
    list_size: int,
    seed: int,
) -> ListedExamples:
    """Joins the examples of a phase with their mined lists; the arrays stay on disk.

    Raises:
        MissingArtifact: there are no lists for this phase.
        CorruptArtifact: the lists cannot be read, or do not fit the examples.
    """
    lists = negative_lists.load_negative_lists(directory, phase)
    if len(lists) != len(table):
        raise CorruptArtifact(
            f"{directory}: holds {len(lists)} lists for the phase '{phase}', expected one for each "
            f"of {len(table)} examples. Run `twotower mine` again."
        )
    return ListedExamples(table, lists, list_size, seed)
