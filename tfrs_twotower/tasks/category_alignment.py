"""The category-alignment term of DAT."""

import tensorflow as tf

from tfrs_twotower.config import CategoryAlignmentConfig
from tfrs_twotower.losses.category_alignment import category_alignment
from tfrs_twotower.tasks.in_batch import InBatch


class CategoryAlignmentTerm:
    """Covariances of the batch's categories, drawn to the largest one's (Yu et al., DLP-KDD 2021).

    One number for the whole global batch; every row carries it, so that its mean is itself.
    """

    name = "category_alignment"

    def __init__(self, config: CategoryAlignmentConfig) -> None:
        """Makes the term."""
        self.weight = config.weight
        self._config = config

    def losses_of(self, batch: InBatch) -> tf.Tensor:
        """`[batch]`, all equal."""
        value = category_alignment(
            batch.all_candidate.embedding,
            batch.all_candidate_tokens[self._config.feature],
            batch.all_candidate_rows,
            scale_by_dim=self._config.scale_by_dim,
            stop_major_gradient=self._config.stop_major_gradient,
        )
        return tf.fill(tf.shape(batch.query_rows), value)
