"""Retrieval of candidates that are not positives of the query."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import EmbeddingError
from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.towers.tower import Towers

CHUNK = 512
"""Number of records in one forward pass."""


class PositiveFreeRetrieval:
    """Exact search over the rankable candidates, without known positives."""

    def __init__(
        self,
        towers: Towers,
        vectors: NDArray[np.float32],
        rankable: NDArray[np.bool_],
        depth: int,
    ) -> None:
        """Prepares the search.

        Args:
            towers: the query tower embeds the queries.
            vectors: `[num_candidates, embedding_dim]`, in row order.
            rankable: `[num_candidates]` bool, candidates that may be ranked; at least one.
            depth: length of the lists.
        """
        self._rows = np.flatnonzero(rankable).astype(np.int32)
        self._position_of_row = np.full(len(rankable), -1, np.int32)
        self._position_of_row[self._rows] = np.arange(len(self._rows), dtype=np.int32)
        search = ExactSearch(vectors[self._rows])
        corpus = tf.constant(vectors)

        def retrieve(
            tokens: Tokens, positives: tf.Tensor, excluded: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            embeddings = towers.query.embed_tokens(tokens, training=False)
            own = tf.reduce_sum(embeddings * tf.gather(corpus, positives), axis=1)
            return own, *search.search(embeddings, depth, excluded)

        self._retrieve = tf.function(retrieve, autograph=False, reduce_retracing=True)

    def lists(
        self,
        tokens: dict[str, NDArray[np.generic]],
        positives: NDArray[np.integer],
        known_positives: Ragged,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Retrieves the lists of some examples.

        Args:
            tokens: `[batch, ...]` of the query tower, by name.
            positives: `[batch]` corpus row of each example's positive.
            known_positives: one list of rows for each example; these rows are left out.

        Returns:
            Rows `[batch, depth]`, by score descending, then row ascending, -1 at the end of a short
            list; scores `[batch, 1 + depth]` of the positive and of the rows, 0 at missing rows.
        """
        own, scores, positions = self._retrieve(
            {name: tf.constant(values) for name, values in tokens.items()},
            tf.constant(positives, tf.int32),
            tf.constant(_padded(known_positives, self._position_of_row)),
        )
        positions = positions.numpy()
        present = positions >= 0
        rows = np.where(present, self._rows[np.maximum(positions, 0)], np.int32(-1))
        scores = np.where(present, scores.numpy(), np.float32(0.0))
        return rows, np.concatenate([own.numpy()[:, None], scores], axis=1)


def embed_corpus(
    towers: Towers, corpus: Corpus, progress: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """Embeds the corpus: `[num_candidates, embedding_dim]`, in row order.

    Args:
        towers: the candidate tower embeds the candidates.
        corpus: the candidates.
        progress: receives the number of embedded candidates and the total after each chunk.

    Raises:
        EmbeddingError: an embedding is not finite.
    """
    embed = tf.function(
        lambda tokens: towers.candidate.embed_tokens(tokens, training=False),
        autograph=False,
        reduce_retracing=True,
    )
    parts = []
    for raw in corpus.batches(CHUNK):
        parts.append(embed(towers.candidate.inputs(raw)).numpy())
        progress(min(len(parts) * CHUNK, len(corpus)), len(corpus))
    vectors = np.concatenate(parts)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise EmbeddingError(
            f"found {len(bad)} candidates whose embedding is not finite, such as "
            f"{corpus.ids[bad[0]]!r}. Look at their features, then train again."
        )
    return vectors


def _padded(lists: Ragged, position_of_row: NDArray[np.int32]) -> NDArray[np.int32]:
    """Returns `[len(lists), longest]` positions of the listed rows, padded with -1."""
    lengths = lists.lengths
    inside = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.full(inside.shape, -1, np.int32)
    padded[inside] = position_of_row[lists.values]
    return padded
