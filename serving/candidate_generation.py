"""Candidate generation: query features in, the ids of the best candidates out."""

import tensorflow as tf

from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.index.answers import Search
from tfrs_twotower.index.candidate_ids import CandidateIds


class CandidateGeneration(tf.Module):
    """Query tower, searcher and candidate ids as one function of the graph."""

    def __init__(
        self, query_tower: tf.Module, search: Search, candidate_ids: CandidateIds, k: int
    ) -> None:
        """Puts the parts together.

        Args:
            query_tower: raw query features to embeddings `[batch, embedding_dim]`.
            search: searcher over the corpus.
            candidate_ids: ids of the same corpus.
            k: list length of every answer.
        """
        super().__init__(name="candidate_generation")
        self.query_tower = query_tower
        self.searcher = search
        self.candidate_ids = candidate_ids
        self.k = k

    def __call__(self, raw: RawBatch, exclude_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Retrieves candidates.

        Args:
            raw: query features.
            exclude_ids: `[batch, n]` strings; ids that are no candidate's, such as "", are ignored.

        Returns:
            Scores float32 and candidate ids string, each `[batch, k]`, best first; a place without
            a candidate has "" and the lowest float32.
        """
        scores, rows = self.searcher.search(
            self.query_tower(raw), self.k, self.candidate_ids.rows_of(exclude_ids)
        )
        return scores, self.candidate_ids.ids_of(rows)
