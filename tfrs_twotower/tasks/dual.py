"""The dual term: softmax from each candidate over the queries of the batch (DANCE)."""

import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.tasks.in_batch import InBatch
from tfrs_twotower.tasks.retrieval import RetrievalTask


class DualTerm:
    """Li et al. (ICTIR 2021): the positive's query against other queries, in its in-batch form.

    With the retrieval softmax it makes the symmetric loss: transposing the scores swaps the two.
    Queries for whom the candidate is a positive too are no negatives of it.
    """

    name = "dual"

    def __init__(self, weight: float, retrieval: RetrievalTask) -> None:
        """Makes the term; the temperature is the retrieval term's."""
        self.weight = weight
        self._retrieval = retrieval

    def losses_of(self, batch: InBatch) -> tf.Tensor:
        """`[batch]`: the loss of each row's candidate."""
        scores = tf.matmul(batch.candidate.embedding, batch.all_query.embedding, transpose_b=True)
        return in_batch_softmax(
            scores,
            temperature=self._retrieval.temperature,
            hidden=batch.reverse_hidden,
            positive_columns=batch.positive_columns,
        )
