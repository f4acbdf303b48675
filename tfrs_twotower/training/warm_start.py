"""A daily training: it starts from the weights of the model before, and learns what that has not.

A model says which examples it has learned by a 64-bit key of each. A daily training learns those of
its window that have another key, among a sample of the others, so that it does not forget them. The
fit whose validation figures are printed starts from the first fit of the model before: the final
weights of a refit have learned validation queries.

Rows of embedding tables are carried over by the value that they stand for, so that the order of a
vocabulary does not matter. A new value starts as in any training, or, where the candidate tower is
frozen, from the row of unknown values, as a refreshed bundle would embed it.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.artifacts.layout import FIRST_FIT_WEIGHTS, WEIGHTS
from tfrs_twotower.config import DailyConfig, TrainingConfig
from tfrs_twotower.data.assets import Assets, load_assets
from tfrs_twotower.data.stored_arrays import load_array
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.ranking.sorting import contains, distinct
from tfrs_twotower.specs import NUM_SPECIAL_ROWS, UNKNOWN_ROW
from tfrs_twotower.towers import storage
from tfrs_twotower.towers.tower import Towers
from tfrs_twotower.training.fitting import Examples

LEARNED = "learned.npy"
"""Keys of the examples that the final weights have learned, sorted; in the model's directory."""
FIRST_FIT_LEARNED = "first_fit_learned.npy"
"""Keys of those that the first fit has learned, where a refit follows."""
MOST_MEASURED = 2_000
"""Validation queries that a daily training is measured on: no weights are chosen by the figure."""
_SAMPLE_STREAM = 1 << 33  # distinct from other uses of the run's seed
_TABLES = "tables."


def example_keys(table: ExampleTable, candidate_ids: NDArray[np.object_]) -> NDArray[np.uint64]:
    """`[num_examples]` keys of query id, candidate id and time; equal for equal examples only.

    Args:
        table: the examples.
        candidate_ids: `[num_candidates]`, the ids of the corpus.
    """
    queries, candidates = _hashes(table.query_ids), _hashes(candidate_ids)
    keys = queries[table.query_rows] << np.uint64(32) | candidates[table.candidate_rows]
    times = table.timestamps.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return keys ^ (times ^ times >> np.uint64(29))


def _hashes(ids: Any) -> NDArray[np.uint64]:
    """Of an array of ids, NumPy's or Arrow's, of bytes or of texts."""
    listed = ids.to_pylist() if hasattr(ids, "to_pylist") else ids.tolist()
    encoded = (one.encode() if isinstance(one, str) else one for one in listed)
    return np.array([zlib.crc32(one) for one in encoded], np.uint64)


def write_keys(keys: NDArray[np.uint64], path: Path) -> None:
    """Writes the keys of learned examples."""
    np.save(path, distinct(keys), allow_pickle=False)


@dataclass(frozen=True)
class WarmStart:
    """The model before, and how a daily training goes on from it."""

    directory: Path
    """Of the finished model."""
    config: DailyConfig
    refitted: bool
    """Whether its final weights come from a refit, so that it has those of a first fit too."""

    def training(self, config: TrainingConfig) -> TrainingConfig:
        """The training section of the run with the length of a daily training.

        The rate falls to zero, because a short training that ends at its peak leaves noise; so
        there is none for a mean of weights to take away. There is no warm-up, and the weights are
        measured once, at the end.
        """
        passes = float(self.config.epochs)
        optimizer = config.optimizer.model_copy(update={"decay": "cosine", "warmup_steps": 0})
        return config.model_copy(
            update={
                "epochs": passes,
                "max_steps": None,
                "evaluate_every_epochs": passes,
                "optimizer": optimizer,
                "average_weights": False,
                "pseudo_questions": None,
            }
        )

    def choose(
        self, keys: NDArray[np.uint64], *, refit: bool, least: int, seed: int
    ) -> tuple[NDArray[np.int64], int]:
        """Chooses the examples of a phase.

        Args:
            keys: `[num_examples]` of the window.
            refit: whether this is the second fit.
            least: smallest number of examples to choose, if there are so many.
            seed: of the sample.

        Returns:
            Positions, ascending: those that were not learned, and a sample of the others; and how
            many of them were not learned.
        """
        in_order = np.argsort(keys)
        is_new = np.empty(len(keys), bool)
        is_new[in_order] = ~contains(self._learned(refit), keys[in_order])
        new, old = np.flatnonzero(is_new), np.flatnonzero(~is_new)
        wanted = max(round(self.config.replay * len(new)), least - len(new))
        random = np.random.Generator(np.random.Philox(key=[seed, _SAMPLE_STREAM + int(refit)]))
        sample = random.choice(old, min(wanted, len(old)), replace=False)
        return np.sort(np.concatenate([new, sample])), len(new)

    def _learned(self, refit: bool) -> NDArray[np.uint64]:
        path = self.directory / (FIRST_FIT_LEARNED if self.refitted and not refit else LEARNED)
        try:
            return load_array(path)
        except (OSError, ValueError) as cause:
            raise CorruptArtifact(f"{path}: cannot be read: {cause}. Train again.") from cause

    def assign(self, towers: Towers, assets: Assets, *, refit: bool) -> None:
        """Gives new towers the weights of the model before.

        Args:
            towers: built with `assets`.
            assets: vocabularies of this training.
            refit: whether the towers are those of the second fit.

        Raises:
            CorruptArtifact: the weights cannot be read, or are of other towers.
        """
        before = load_assets(self.directory)
        name = WEIGHTS
        if self.refitted and not refit:
            before, name = before.of_first_fit(), FIRST_FIT_WEIGHTS
        saved = storage.read_weights(self.directory / name)
        for weight, variable in towers.named_variables().items():
            if weight not in saved:
                raise CorruptArtifact(
                    f"{self.directory / name}: the weight '{weight}' is missing. Train again."
                )
            values, shape = saved[weight], tuple(variable.shape)
            names = _vocabularies_of(weight, shape, values.shape, before, assets)
            if len(names) == 1:
                rows = _rows_before(before.vocabulary(names[0]), assets.vocabulary(names[0]))
                known = rows != UNKNOWN_ROW
                known[UNKNOWN_ROW] = True
                values = values[rows]
                if not self.config.freeze_candidate_tower:
                    values = np.where(known[:, None], values, variable.numpy())
            if values.shape != shape:
                raise CorruptArtifact(
                    f"{self.directory / name}: the weight '{weight}' is of shape {values.shape}, "
                    f"expected {shape}. Train again."
                )
            variable.assign(values)


def _vocabularies_of(
    weight: str, now: tuple[int, ...], then: tuple[int, ...], before: Assets, assets: Assets
) -> list[str]:
    """The vocabularies whose values the rows of a weight may stand for.

    A shared table is named for its vocabulary. Another weight that grew has the vocabulary of its
    sizes; one that did not grow keeps its rows.
    """

    def fits(name: str) -> bool:
        sizes = [NUM_SPECIAL_ROWS + len(one.vocabularies.get(name, ())) for one in (before, assets)]
        return len(now) == 2 and sizes == [then[0], now[0]]

    if weight.startswith(_TABLES):
        return [name for name in (weight.removeprefix(_TABLES),) if fits(name)]
    return [name for name in assets.vocabularies if now != then and fits(name)]


def _rows_before(before: list[str], now: list[str]) -> NDArray[np.int64]:
    """For each row of a table, the row of the table before that it starts from."""
    row_of = {value: NUM_SPECIAL_ROWS + at for at, value in enumerate(before)}
    rows = [row_of.get(value, UNKNOWN_ROW) for value in now]
    return np.array([*range(NUM_SPECIAL_ROWS), *rows], np.int64)


@dataclass(frozen=True)
class Part:
    """Some of the examples of a training, by their positions."""

    examples: Examples
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def groups(self) -> NDArray[np.integer] | None:
        """Groups of these examples, as of all."""
        groups = self.examples.groups
        return None if groups is None else groups[self.positions]

    def batch(self, positions: NDArray[np.integer], step: int) -> dict[str, Any]:
        """The batch of all examples at these of the chosen positions."""
        return self.examples.batch(self.positions[positions], step)
