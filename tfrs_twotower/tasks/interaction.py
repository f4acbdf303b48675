"""The FE-Block's own softmax."""

import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.tasks.in_batch import InBatch
from tfrs_twotower.towers.pair_scorer import PairScorer


class InteractionTerm:
    """Softmax of FE scores over the batch's candidates, drawn ones, and all that its lists hold.

    The logQ correction is for what was sampled; mined candidates are there because they score
    high, and get none.
    """

    name = "interaction"

    def __init__(self, weight: float, scorer: PairScorer, logq_strength: float) -> None:
        """Makes the term; the scorer's scale takes the place of a temperature."""
        self.weight = weight
        self._scorer = scorer
        self._logq_strength = logq_strength

    def losses_of(self, batch: InBatch) -> tf.Tensor:
        """`[batch]`."""
        heads = batch.all_candidate.heads
        if batch.drawn is not None:
            heads = tf.concat([heads, batch.drawn.heads], axis=0)
        hidden = batch.hidden[:, : tf.shape(heads)[0]]
        expected = batch.sampled_expected
        if batch.listed is not None:
            mined = batch.listed.candidates.heads
            heads = tf.concat([heads, mined], axis=0)
            hidden = tf.concat([hidden, batch.listed.hidden], axis=1)
            if expected is not None:
                expected = tf.concat([expected, tf.ones([tf.shape(mined)[0]])], axis=0)
        return in_batch_softmax(
            self._scorer.all_pairs(batch.query.heads, heads),
            sampling_probability=expected,
            logq_strength=self._logq_strength,
            hidden=hidden,
            positive_columns=batch.positive_columns,
        )
