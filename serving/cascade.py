"""The cascade behind `serving_default`: candidate generation, then pre-ranking if there is one."""

import tensorflow as tf

from serving.candidate_generation import CandidateGeneration
from serving.pre_ranking import PreRanking
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.index.answers import order


class Cascade(tf.Module):
    """Runs the steps from a query to its final list."""

    def __init__(
        self, candidate_generation: CandidateGeneration, pre_ranking: PreRanking | None, k: int
    ) -> None:
        """Puts the steps together; k is the list length of every answer."""
        super().__init__(name="cascade")
        self.candidate_generation = candidate_generation
        self.pre_ranking = pre_ranking
        self._k = k

    def __call__(
        self,
        raw: RawBatch,
        exclude_ids: tf.Tensor,
        allow: tf.Tensor | None = None,
        deny: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and candidate ids, each `[batch, k]`; see `CandidateGeneration`.

        With a pre-ranker so many candidates are retrieved as it was fitted to re-score (at least
        k). Equal final scores are ordered by row, as in the evaluation.
        """
        retrieval, pre_ranking = self.candidate_generation, self.pre_ranking
        if pre_ranking is None:
            return retrieval(raw, exclude_ids, allow, deny)
        depth = max(self._k, pre_ranking.num_candidates)
        depth = min(depth, retrieval.searcher.num_candidates)
        scores, rows = retrieval.retrieve(raw, depth, exclude_ids, allow, deny, ordered=False)
        scores, rows = order(pre_ranking(raw, rows, scores), rows, self._k)
        return scores, retrieval.candidate_ids.ids_of(rows)

    def score(self, raw: RawBatch, candidate_ids: tf.Tensor) -> tf.Tensor:
        """The final scores that `__call__` gives these candidates; needs a pre-ranker.

        Args:
            raw: query features.
            candidate_ids: `[batch, n]` strings.

        Returns:
            `[batch, n]` float32, the lowest where an id is no candidate's.
        """
        assert self.pre_ranking is not None
        rows = self.candidate_generation.candidate_ids.rows_of(candidate_ids)
        return self.pre_ranking(raw, rows, self.candidate_generation.score(raw, rows))
