"""The trained pre-ranker as the evaluation's second stage."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.evaluation.corpus_ranking import CHUNK_BYTES
from tfrs_twotower.towers.pre_ranker import PreRanker

_QUERIES_AT_ONCE = 256


class PreRankerScores:
    """A `ReScorer`: query heads from raw features, candidate heads from the artifact's cache."""

    def __init__(
        self, pre_ranker: PreRanker, raw: dict[str, NDArray[np.generic]], directory: Path
    ) -> None:
        """Joins a pre-ranker with the test queries.

        Args:
            pre_ranker: the loaded pre-ranker.
            raw: features of all test queries, `[num_queries]` or `[num_queries, width]`.
            directory: directory of the artifact, for messages.
        """
        self._pre_ranker = pre_ranker
        self._raw = raw
        self._directory = directory

    def __call__(
        self, queries: NDArray[np.int64], rows: NDArray[np.int64], scores: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Final scores, `[chunk, n]` float32.

        Raises:
            CorruptArtifact: a candidate's final score is not finite.
        """
        final = np.empty(rows.shape, np.float32)
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            part = slice(start, start + _QUERIES_AT_ONCE)
            heads = self._pre_ranker.query_heads(
                {name: tf.constant(values[queries[part]]) for name, values in self._raw.items()}
            )
            final[part] = self._of_heads(heads, rows[part], scores[part])
        if not np.isfinite(final[rows >= 0]).all():
            raise CorruptArtifact(
                f"{self._directory}: a score of the pre-ranker is not finite. Train the pre-ranker "
                "again."
            )
        return final

    def _of_heads(
        self,
        heads: Sequence[tf.Tensor],
        rows: NDArray[np.int64],
        scores: NDArray[np.floating],
    ) -> NDArray[np.float32]:
        size = max(1, CHUNK_BYTES // (4 * rows.shape[1] * self._numbers_of_a_pair(heads)))
        return np.concatenate(
            [
                self._pre_ranker.scores(
                    [of_member[start : start + size] for of_member in heads],
                    tf.constant(rows[start : start + size], tf.int32),
                    tf.constant(scores[start : start + size], tf.float32),
                ).numpy()
                for start in range(0, len(rows), size)
            ]
        )

    def _numbers_of_a_pair(self, heads: Sequence[tf.Tensor]) -> int:
        """Numbers of a pair in the largest member.

        Of towers and EASE these are the gathered heads and all products of heads, of tastes the
        candidate's values, of item kNN the neighbours of all of the history's latest candidates.
        """
        pre_ranker = self._pre_ranker
        candidate_heads = [member.candidate_heads.shape[1] for member in pre_ranker.members]
        if pre_ranker.linear is not None:
            candidate_heads.append(1)
        # The others' tokens and terms, which come last, have no heads.
        numbers = [
            num_heads * (of_member.shape[1] + of_member.shape[2])
            for num_heads, of_member in zip(candidate_heads, heads, strict=False)
        ]
        if pre_ranker.tastes is not None:
            numbers.append(pre_ranker.tastes.candidate_values.shape[1])
        if pre_ranker.item_knn is not None:
            numbers.append(pre_ranker.item_knn.last * pre_ranker.item_knn.neighbours.shape[1])
        return max(numbers, default=1)
