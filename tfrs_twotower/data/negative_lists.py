"""The candidates that retrieval returns for the training examples, on disk.

negatives/, for each phase P of training (`fit`; `refit` if the towers were trained twice):
    P-rows.npy     int32   [num_examples, depth]
    P-scores.npy   float32 [num_examples, 1 + depth]
    P-teacher.npy  float32 [num_examples, 1 + depth], with a teacher

rounds/N/negatives/ of a model that was trained in rounds, for each phase P:
    P-rows.npy     int32   [num_examples, ranks]
    P-queries.npy  int32   [num_candidates, ranks], with the dual term
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tfrs_twotower.errors import CorruptArtifact, MissingArtifact

Phase = Literal["fit", "refit"]


@dataclass(frozen=True)
class NegativeLists:
    """Lists of one phase, in the order of the phase's `ExampleTable`; memory-mapped."""

    rows: npt.NDArray[np.int32]
    """`[num_examples, depth]` corpus rows, by score descending, then row ascending; -1 pads."""
    scores: npt.NDArray[np.float32]
    """`[num_examples, 1 + depth]` retrieval scores of the positive and of `rows`; 0 at padding."""
    teacher: npt.NDArray[np.float32] | None
    """`[num_examples, 1 + depth]` the teacher's scores of the same candidates; 0 at padding."""

    def __len__(self) -> int:
        return len(self.rows)


def create_negative_lists(
    directory: Path, phase: Phase, num_examples: int, depth: int, *, with_teacher: bool
) -> NegativeLists:
    """Creates the files of a phase, whose arrays the caller fills piece by piece."""

    def create(name: str, dtype: Any, width: int) -> npt.NDArray[Any]:
        path = directory / f"{phase}-{name}.npy"
        return np.lib.format.open_memmap(path, "w+", dtype, (num_examples, width))

    return NegativeLists(
        create("rows", np.int32, depth),
        create("scores", np.float32, 1 + depth),
        create("teacher", np.float32, 1 + depth) if with_teacher else None,
    )


def load_negative_lists(directory: Path, phase: Phase) -> NegativeLists:
    """Opens the lists of a phase for reading; the arrays are memory-mapped.

    Raises:
        MissingArtifact: the phase was not mined.
        CorruptArtifact: a file cannot be read, or the shapes of the files do not match.
    """
    rows, scores, teacher = (
        _open(directory / f"{phase}-{name}.npy") for name in ("rows", "scores", "teacher")
    )
    if rows is None or scores is None:
        raise MissingArtifact(
            f"{directory}: there are no lists of the phase '{phase}'; run `twotower mine` again."
        )
    expected = (rows.shape[0], 1 + rows.shape[1])
    if any(array.shape != expected for array in (scores, teacher) if array is not None):
        raise CorruptArtifact(
            f"{directory}: the scores of the phase '{phase}' are not of shape {expected}, as its "
            "rows are. Run `twotower mine` again."
        )
    return NegativeLists(rows, scores, teacher)


def draw_places(
    lists: npt.NDArray[np.integer], size: int, random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draws some places of each list without repetition.

    Args:
        lists: `[batch, n]`, -1 for padding.
        size: number to draw.
        random: source of the draws.

    Returns:
        `[batch, min(size, n)]` places in [0, n), of padding only where a list is shorter.
    """
    # Padding is drawn last, so that all entries of a short list are drawn.
    lottery = random.random(lists.shape) + (lists < 0)
    return np.argsort(lottery, axis=1)[:, :size]


@dataclass(frozen=True)
class RoundNegatives:
    """Negatives that were mined for one phase of a round of training; memory-mapped."""

    rows: npt.NDArray[np.int32]
    """`[num_examples, ranks]` corpus rows of each example's negatives, by rank; -1 pads."""
    queries: npt.NDArray[np.int32] | None
    """`[num_candidates, ranks]` examples whose queries are negatives of a candidate, by rank; -1
    pads, and fills the lists of candidates that are no example's positive."""


def create_round_negatives(
    directory: Path,
    phase: Phase,
    num_ranks: int,
    *,
    num_examples: int,
    num_candidates: int | None,
) -> RoundNegatives:
    """Creates the files of a phase, whose arrays the caller fills piece by piece.

    `num_candidates` is the size of the corpus; None makes no file of mined queries.
    """

    def create(name: str, length: int) -> npt.NDArray[np.int32]:
        path = directory / f"{phase}-{name}.npy"
        return np.lib.format.open_memmap(path, "w+", np.int32, (length, num_ranks))

    return RoundNegatives(
        create("rows", num_examples),
        None if num_candidates is None else create("queries", num_candidates),
    )


def load_round_negatives(directory: Path, phase: Phase, num_examples: int) -> RoundNegatives:
    """Opens the negatives of a phase for reading.

    Raises:
        CorruptArtifact: they are missing, cannot be read, or are not one list for each example.
    """
    rows, queries = (_open(directory / f"{phase}-{name}.npy") for name in ("rows", "queries"))
    if rows is None or len(rows) != num_examples:
        found = "no lists" if rows is None else f"{len(rows)} lists"
        raise CorruptArtifact(
            f"{directory}: holds {found} of the phase '{phase}', expected one for each of "
            f"{num_examples} examples. Remove the directory of this round, and train again."
        )
    return RoundNegatives(rows, queries)


def _open(path: Path) -> npt.NDArray[Any] | None:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as cause:
        raise CorruptArtifact(
            f"{path}: cannot be read: {cause}. Run `twotower mine` again."
        ) from cause
