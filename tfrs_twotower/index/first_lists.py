"""The lists of a first stage that searches words, offline: what mining and validation re-score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.lexical import first_stage
from tfrs_twotower.ranking.order import MISSING_ROW, FloatArray
from tfrs_twotower.ranking.ragged import Ragged

_CHUNK = 64


class FirstLists(NamedTuple):
    """Lists of some queries."""

    rows: NDArray[np.int32]
    """`[num_queries, depth]`, the best first; -1 at the end of a short list."""
    scores: FloatArray
    """`[num_queries, depth]` of the first stage; 0 at missing rows."""
    listed: FloatArray
    """`[num_queries, m]` scores of the rows that were asked for."""


class WordLists:
    """The lists that `index.lexical` serves, with exact search of the vectors."""

    def __init__(
        self,
        lexical: Lexical,
        vectors: FloatArray,
        depth: int,
        rankable: NDArray[np.bool_] | None = None,
    ) -> None:
        """Prepares the search.

        Args:
            lexical: the search of words.
            vectors: `[num_candidates, embedding_dim]`, in row order.
            depth: length of the lists.
            rankable: `[num_candidates]` candidates that may be ranked; None means all.
        """
        search = first_stage(ExactSearch(vectors), lexical)
        self._never = np.flatnonzero(~rankable) if rankable is not None else np.zeros(0, np.int64)

        def find(
            embeddings: tf.Tensor, texts: tf.Tensor, excluded: tf.Tensor, listed: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            asked = search.asked_terms(embeddings, search.terms(texts))
            return *search.search(asked, depth, excluded), search.score(asked, listed)

        self._find = tf.function(
            find,
            autograph=False,
            input_signature=[
                tf.TensorSpec([None, vectors.shape[1]], tf.float32),
                tf.TensorSpec([None], tf.string),
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None, None], tf.int32),
            ],
        )

    def find(
        self,
        embeddings: FloatArray,
        texts: Sequence[str],
        left_out: Ragged,
        listed: NDArray[np.integer] | None = None,
    ) -> FirstLists:
        """Finds the lists of queries.

        Args:
            embeddings: `[num_queries, embedding_dim]`.
            texts: of each query.
            left_out: rows that the list of each query leaves out.
            listed: `[num_queries, m]` rows whose scores are wanted, too.
        """
        if listed is None:
            listed = np.zeros((len(embeddings), 0), np.int32)
        parts = []
        for start in range(0, len(embeddings), _CHUNK):
            part = slice(start, min(start + _CHUNK, len(embeddings)))
            found = self._find(
                tf.constant(embeddings[part]),
                tf.constant(texts[part], tf.string),
                tf.constant(self._excluded(left_out.take(np.arange(part.start, part.stop)))),
                tf.constant(listed[part], tf.int32),
            )
            parts.append([values.numpy() for values in found])
        scores, rows, of_listed = (np.concatenate(column) for column in zip(*parts, strict=True))
        return FirstLists(rows, np.where(rows == MISSING_ROW, np.float32(0.0), scores), of_listed)

    def _excluded(self, left_out: Ragged) -> NDArray[np.int32]:
        """`[num_queries, n]` rows that no list may have, -1 is none."""
        never = np.tile(self._never.astype(np.int32), (len(left_out), 1))
        return np.concatenate([left_out.padded(), never], axis=1)
