"""The two adaptive-mimic terms of DAT."""

from typing import Literal

import tensorflow as tf

from tfrs_twotower.losses.mimic import mimic
from tfrs_twotower.tasks.in_batch import InBatch


class MimicTerm:
    """A side's augmented vectors imitate the other tower's output (Yu et al., DLP-KDD 2021)."""

    def __init__(self, side: Literal["query", "candidate"], weight: float) -> None:
        """Makes the term of one side."""
        self.name = f"mimic_{side}"
        self.weight = weight
        self._side = side

    def losses_of(self, batch: InBatch) -> tf.Tensor:
        """`[batch]`: squared distances; all rows are positive pairs."""
        if self._side == "query":
            return mimic(batch.query.augmented, batch.candidate.embedding)
        return mimic(batch.candidate.augmented, batch.query.embedding)
