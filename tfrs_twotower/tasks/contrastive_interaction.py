"""The CIR term of IntTower."""

import tensorflow as tf

from tfrs_twotower.config import ContrastiveInteractionConfig
from tfrs_twotower.losses.contrastive_interaction import contrastive_interaction
from tfrs_twotower.tasks.in_batch import InBatch


class ContrastiveInteractionTerm:
    """InfoNCE between the flattened heads of both towers' last layers (Li et al., CIKM 2022)."""

    name = "contrastive_interaction"

    def __init__(self, config: ContrastiveInteractionConfig) -> None:
        """Makes the term."""
        self.weight = config.weight
        self._temperature = config.temperature

    def losses_of(self, batch: InBatch) -> tf.Tensor:
        """`[batch]`: all rows are positive pairs."""
        candidate_heads = batch.all_candidate.heads
        return contrastive_interaction(
            batch.query.heads[:, -candidate_heads.shape[1] :],
            candidate_heads,
            temperature=self._temperature,
            hidden=batch.in_batch(batch.hidden),
            positive_columns=batch.positive_columns,
        )
