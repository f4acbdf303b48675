"""The cascade behind `serving_default`: candidate generation, then pre-ranking if there is one."""

import tensorflow as tf

from serving.graph.pre_ranking import PreRanking
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.index.answers import CandidateIds, Search, order
from tfrs_twotower.index.restricts import Attributes


class CandidateGeneration(tf.Module):
    """Query tower, searcher, candidate ids and attributes as one function of the graph."""

    def __init__(
        self,
        query_tower: tf.Module,
        search: Search,
        candidate_ids: CandidateIds,
        k: int,
        attributes: Attributes | None = None,
    ) -> None:
        """Puts the parts together.

        Args:
            query_tower: raw query features to embeddings `[batch, embedding_dim]`.
            search: searcher over the corpus.
            candidate_ids: ids of the same corpus.
            k: list length of every answer.
            attributes: what requests may restrict their answers by; None, where by nothing.
        """
        super().__init__(name="candidate_generation")
        self.query_tower = query_tower
        self.searcher = search
        self.candidate_ids = candidate_ids
        self.k = k
        self.attributes = attributes

    def __call__(
        self,
        raw: RawBatch,
        exclude_ids: tf.Tensor,
        allow: tf.Tensor | None = None,
        deny: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Retrieves candidates.

        Args:
            raw: query features.
            exclude_ids: `[batch, n]` strings; ids that are no candidate's, such as "", are ignored.
            allow: `[batch, n]` tokens `feature=value`, if there are attributes; see
                `tfrs_twotower.index.restricts`.
            deny: the same.

        Returns:
            Scores float32 and candidate ids string, each `[batch, k]`, best first; a place without
            a candidate has "" and the lowest float32.
        """
        scores, rows = self.retrieve(raw, self.k, exclude_ids, allow, deny)
        return scores, self.candidate_ids.ids_of(rows)

    def retrieve(
        self,
        raw: RawBatch,
        depth: int,
        exclude_ids: tf.Tensor,
        allow: tf.Tensor | None = None,
        deny: tf.Tensor | None = None,
        *,
        ordered: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `__call__`, with rows in place of ids, and lists of another length.

        `ordered` is that of `Search.search`.
        """
        permits = None
        if self.attributes is not None:
            permits = self.attributes.permits(allow, deny)
        excluded = self.candidate_ids.rows_of(exclude_ids)
        embeddings = self.query_tower(raw)
        return self.searcher.search(embeddings, depth, excluded, permits, ordered=ordered)

    def score(self, raw: RawBatch, rows: tf.Tensor) -> tf.Tensor:
        """Retrieval scores `[batch, n]` of candidates at these rows; any number at rows below 0."""
        return self.searcher.score(self.query_tower(raw), tf.maximum(rows, 0))


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
