"""What a term of the objective is."""

from typing import Protocol

import tensorflow as tf

from tfrs_twotower.tasks.in_batch import InBatch


class Term(Protocol):
    """One summand: a loss for each row of a batch, under a name and with a weight."""

    name: str
    weight: float

    def losses_of(self, batch: InBatch) -> tf.Tensor:
        """`[batch]`; their weighted mean is what is logged and added up."""
