"""Training examples with the candidates that were mined for them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.data.example_table import ExampleTable
from tfrs_twotower.data.negative_lists import NegativeLists, Phase, load_negative_lists
from tfrs_twotower.errors import CorruptArtifact

_LIST_STREAM = 1 << 32  # apart from other uses of the run's seed, which count from 1


@dataclass(frozen=True)
class ListedExamples:
    """Examples, each with a few of its mined candidates, drawn anew in every step.

    Attributes:
        table: the examples.
        lists: what was mined for them, in their order; may be on disk.
        list_size: how many are drawn for an example; all if there are fewer.
        seed: of the drawing.
    """

    table: ExampleTable
    lists: NegativeLists
    list_size: int
    seed: int

    def __len__(self) -> int:
        return len(self.table)

    def batch(self, positions: NDArray[np.integer], step: int) -> dict[str, Any]:
        """The table's batch, with `listed_rows` and, if there is a teacher, `teacher`."""
        batch = self.table.batch(positions, step)
        rows, teacher = self.lists.rows[positions], self.lists.teacher
        random = np.random.Generator(np.random.Philox(key=[self.seed, _LIST_STREAM + step]))
        # Padding comes last, so that a short list is drawn as a whole.
        lottery = random.random(rows.shape) + (rows < 0)
        drawn = np.argsort(lottery, axis=1)[:, : self.list_size]
        batch["listed_rows"] = np.take_along_axis(rows, drawn, axis=1)
        if teacher is not None:
            scores = teacher[positions]
            of_drawn = np.take_along_axis(scores[:, 1:], drawn, axis=1)
            batch["teacher"] = np.concatenate([scores[:, :1], of_drawn], axis=1)
        return batch


def read_listed_examples(
    directory: Path, phase: Phase, table: ExampleTable, *, list_size: int, seed: int
) -> ListedExamples:
    """Joins the examples of a phase with what was mined for them; the arrays stay on disk.

    Raises:
        MissingArtifact: nothing was mined for this phase.
        CorruptArtifact: what was mined cannot be read, or does not fit the examples.
    """
    lists = load_negative_lists(directory, phase)
    if len(lists) != len(table):
        raise CorruptArtifact(
            f"{directory}: holds {len(lists)} lists for the phase '{phase}', expected one for each "
            f"of {len(table)} examples. Run `twotower mine` again."
        )
    return ListedExamples(table, lists, list_size, seed)
