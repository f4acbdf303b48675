"""Lists of retrieved candidates for training examples, without the positives of their queries."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.closed_form.bm25 import Bm25Index
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.first_lists import WordLists
from tfrs_twotower.ranking.order import top_k_rows
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.towers import tower

CHUNK = 512
"""Number of examples whose lists are retrieved at once."""


class PositiveFree(Protocol):
    """Retrieves candidates for examples, without the positives of their queries."""

    def lists(
        self,
        tokens: dict[str, NDArray[np.generic]],
        positives: NDArray[np.integer],
        known_positives: Ragged,
        examples: slice,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Retrieves the lists of some examples.

        Args:
            tokens: `[batch, ...]` inputs of the query tower, by name.
            positives: `[batch]` corpus row of each example's positive.
            known_positives: one list of rows for each example; these rows are left out.
            examples: positions in the example table, which only searches of words read.

        Returns:
            Rows `[batch, depth]`, by score descending, then row ascending, -1 at the end of a short
            list; scores `[batch, 1 + depth]` of the positive and of the rows, 0 at missing rows.
        """


def found_lists(
    retrieval: PositiveFree, table: ExampleTable, num_candidates: int
) -> Iterator[tuple[slice, NDArray[np.int32], NDArray[np.float32]]]:
    """The lists of all examples of a table, some at a time: which examples, rows and scores.

    A list leaves out all candidates that are positives of its query in the table.
    """
    known = table.known_positives(num_candidates)
    for start in range(0, len(table), CHUNK):
        part = slice(start, min(start + CHUNK, len(table)))
        rows, scores = retrieval.lists(
            {name: values[part] for name, values in table.tokens.items()},
            table.candidate_rows[part],
            known.take(table.query_rows[part]),
            part,
        )
        yield part, rows, scores


class PositiveFreeRetrieval:
    """Exact search over the rankable candidates, without known positives."""

    def __init__(
        self,
        towers: tower.Towers,
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
        self._position_of_row = np.full(len(rankable), -1, np.int64)
        self._position_of_row[self._rows] = np.arange(len(self._rows))
        search = ExactSearch(vectors[self._rows])
        corpus = tf.constant(vectors)

        def retrieve(
            tokens: Tokens, positives: tf.Tensor, excluded: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            embeddings = towers.query.embed_tokens(tokens, training=False)
            positive_scores = tf.reduce_sum(embeddings * tf.gather(corpus, positives), axis=1)
            return positive_scores, *search.search(embeddings, depth, excluded)

        self._retrieve = tf.function(retrieve, autograph=False, reduce_retracing=True)

    def lists(
        self,
        tokens: dict[str, NDArray[np.generic]],
        positives: NDArray[np.integer],
        known_positives: Ragged,
        examples: slice = slice(0),
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `PositiveFree.lists`."""
        del examples
        places = self._position_of_row[known_positives.values].astype(np.int64)
        positions = Ragged(known_positives.offsets, places)
        positive_scores, scores, found = self._retrieve(
            {name: tf.constant(values) for name, values in tokens.items()},
            tf.constant(positives, tf.int32),
            tf.constant(positions.padded()),
        )
        found = found.numpy()
        present = found >= 0
        rows = np.where(present, self._rows[np.maximum(found, 0)], np.int32(-1))
        scores = np.where(present, scores.numpy(), np.float32(0.0))
        return rows, np.concatenate([positive_scores.numpy()[:, None], scores], axis=1)


class PositiveFreeWords:
    """Retrieval by a first stage that searches words, without known positives."""

    def __init__(
        self,
        words: Lexical,
        towers: tower.Towers,
        vectors: NDArray[np.float32],
        rankable: NDArray[np.bool_],
        depth: int,
        texts: Sequence[str],
    ) -> None:
        """Prepares the search; see `PositiveFreeRetrieval`.

        `words` is what is searched with, and `texts` the text of each training example's query.
        """
        self._lists = WordLists(words, vectors, depth, rankable)
        self._texts = texts
        self._embed = tf.function(
            lambda tokens: towers.query.embed_tokens(tokens, training=False),
            autograph=False,
            reduce_retracing=True,
        )

    def lists(
        self,
        tokens: dict[str, NDArray[np.generic]],
        positives: NDArray[np.integer],
        known_positives: Ragged,
        examples: slice,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `PositiveFree.lists`."""
        embeddings = self._embed({name: tf.constant(values) for name, values in tokens.items()})
        found = self._lists.find(
            embeddings.numpy(), self._texts[examples], known_positives, positives[:, None]
        )
        return found.rows, np.concatenate([found.listed, found.scores], axis=1)


class PositiveFreeBm25:
    """The best candidates by BM25, without known positives and without those that share no word."""

    def __init__(
        self, index: Bm25Index, texts: Sequence[str], rankable: NDArray[np.bool_], depth: int
    ) -> None:
        """Takes the index of the corpus and each training example's text; see `mining.mine`."""
        self._index = index
        self._texts = texts
        self._rankable = rankable
        self._depth = depth

    def lists(
        self,
        tokens: dict[str, NDArray[np.generic]],
        positives: NDArray[np.integer],
        known_positives: Ragged,
        examples: slice,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """See `PositiveFree.lists`."""
        del tokens
        texts = np.asarray(self._texts[examples], object)
        distinct, text_of = np.unique(texts, return_inverse=True)
        rows = np.full((len(texts), self._depth), -1, np.int32)
        found = np.zeros((len(texts), 1 + self._depth), np.float32)
        for number, terms in enumerate(self._index.terms(distinct.tolist())):
            scores = self._index.scores(terms)
            shared = np.where(self._rankable & (scores > 0.0), scores, -np.inf)
            for place in np.flatnonzero(text_of == number):
                left = shared.copy()
                left[known_positives[int(place)]] = -np.inf
                rows[place] = top_k_rows(left[None], self._depth)[0]
                present = rows[place] >= 0
                found[place, 0] = scores[positives[place]]
                found[place, 1:][present] = scores[rows[place][present]]
        return rows, found
