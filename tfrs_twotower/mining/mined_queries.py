"""Mines training queries for candidates: the other direction of DANCE (Li et al., ICTIR 2021)."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.mining.positive_free import CHUNK
from tfrs_twotower.ranking.ragged import Ragged, distinct_pairs
from tfrs_twotower.towers.tower import Towers

MOST_QUERIES = 1_000_000
"""Largest number of queries that candidates are searched among; a fixed sample of more."""
_CANDIDATES_AT_ONCE = 64
_QUERY_STREAM = 1 << 34  # distinct from other uses of the run's seed


def embed_queries(
    table: ExampleTable, towers: Towers
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Embeds every training query once, as its latest example knows it.

    Returns:
        The example `[n]` of each query, by query, and the embeddings `[n, embedding_dim]`.
    """
    order = np.lexsort((np.arange(len(table)), table.timestamps, table.query_rows))
    is_last = np.append(np.diff(table.query_rows[order]) > 0, True)
    latest = order[is_last]
    embed = tf.function(
        lambda tokens: towers.query.embed_tokens(tokens, training=False),
        autograph=False,
        reduce_retracing=True,
    )
    parts = []
    for start in range(0, len(latest), CHUNK):
        part = latest[start : start + CHUNK]
        tokens = {name: tf.constant(values[part]) for name, values in table.tokens.items()}
        parts.append(embed(tokens).numpy())
    return latest, np.concatenate(parts)


def mine_queries(
    table: ExampleTable,
    vectors: NDArray[np.float32],
    queries: tuple[NDArray[np.int64], NDArray[np.float32]],
    ranks: tuple[int, int],
    progress: Callable[[int, int], None],
    *,
    seed: int,
) -> NDArray[np.int32]:
    """Finds the training queries nearest to each positive candidate, without those it answers.

    Args:
        table: the training examples.
        vectors: `[num_candidates, embedding_dim]`, in row order.
        queries: examples and embeddings, as `embed_queries` returns them.
        ranks: first and last rank that are kept, from 1.
        progress: receives the number of searched candidates and their total after each chunk.
        seed: of the sample where there are more than `MOST_QUERIES`.

    Returns:
        `[num_candidates, ranks]` examples, whose queries are meant; -1 pads, and fills the lists of
        candidates without an example.
    """
    examples, embeddings = queries
    if len(examples) > MOST_QUERIES:
        random = np.random.Generator(np.random.Philox(key=[seed, _QUERY_STREAM]))
        sample = np.sort(random.choice(len(examples), MOST_QUERIES, replace=False))
        examples, embeddings = examples[sample], embeddings[sample]
    place_of_query = np.full(len(table.query_ids), -1, np.int64)
    place_of_query[table.query_rows[examples]] = np.arange(len(examples))
    answered = Ragged(
        *distinct_pairs(
            table.candidate_rows,
            table.query_rows,
            num_queries=len(vectors),
            num_candidates=len(table.query_ids),
        )
    )
    first, last = ranks
    found = np.full((len(vectors), last - first + 1), -1, np.int32)
    search = ExactSearch(embeddings)
    find = tf.function(
        lambda asked, left_out: search.search(asked, last, left_out)[1],
        autograph=False,
        reduce_retracing=True,
    )
    positives = np.flatnonzero(answered.lengths)
    for start in range(0, len(positives), _CANDIDATES_AT_ONCE):
        rows = positives[start : start + _CANDIDATES_AT_ONCE]
        own = answered.take(rows)
        left_out = Ragged(own.offsets, place_of_query[own.values])
        places = find(tf.constant(vectors[rows]), tf.constant(left_out.padded())).numpy()
        places = places[:, first - 1 :]
        found[rows] = np.where(places >= 0, examples[np.maximum(places, 0)], -1)
        progress(start + len(rows), len(positives))
    return found
