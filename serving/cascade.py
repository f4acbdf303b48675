"""The cascade behind `serving_default`: for now candidate generation is its only step."""

import tensorflow as tf

from serving.candidate_generation import CandidateGeneration
from tfrs_twotower.data.raw_inputs import RawBatch


class Cascade(tf.Module):
    """Runs the steps from a query to its final list."""

    def __init__(self, candidate_generation: CandidateGeneration) -> None:
        """Puts the steps together."""
        super().__init__(name="cascade")
        self.candidate_generation = candidate_generation

    def __call__(self, raw: RawBatch, exclude_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and candidate ids, each `[batch, k]`; see `CandidateGeneration`."""
        return self.candidate_generation(raw, exclude_ids)
