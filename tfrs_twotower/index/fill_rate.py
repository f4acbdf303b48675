"""How often an approximate search fills a restricted list without help from exact search."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.index.answers import Search
from tfrs_twotower.index.partial_search import PartialSearch
from tfrs_twotower.index.restricts import Attributes, CandidateAttributes
from tfrs_twotower.ranking.exact import FloatArray

_QUERIES_AT_ONCE = 64
_SEED = 0


def measure_fill_rates(
    search: Search, attributes: CandidateAttributes, queries: FloatArray, k: int
) -> dict[str, float]:
    """Share of queries that the search's own oversampling fills, by declared feature.

    Each query allows one value of the feature: one of a random candidate's, so that a value is
    drawn as often as candidates have it. The queries that are not filled are answered by exact
    search, so the rate is about time, not about what is returned.

    Args:
        search: over the corpus.
        attributes: of the same corpus.
        queries: `[num_queries, embedding_dim]` embeddings of real queries.
        k: list length.

    Returns:
        Features with at least one value; 1 for exact search and without queries.
    """
    rng = np.random.default_rng(_SEED)
    short = _make_short(search, Attributes(attributes), queries.shape[1], k)
    rates = {}
    for name, values in attributes.values.items():
        held = values.reshape(-1)
        held = held[held != b""]
        if not len(held):
            continue
        drawn = held[rng.integers(len(held), size=len(queries))]
        tokens = np.array([[name.encode() + b"=" + value] for value in drawn], object)
        starts = range(0, len(queries), _QUERIES_AT_ONCE)
        parts = [slice(start, start + _QUERIES_AT_ONCE) for start in starts]
        num_short = sum(int(short(queries[part], tokens[part])) for part in parts)
        rates[name] = 1.0 - num_short / max(1, len(queries))
    return rates


def _make_short(
    search: Search, attributes: Attributes, dim: int, k: int
) -> Callable[[FloatArray, npt.NDArray[np.object_]], tf.Tensor]:
    """Counts the short lists of embeddings and tokens `[batch, 1]`."""

    def short(embeddings: tf.Tensor, allow: tf.Tensor) -> tf.Tensor:
        if not isinstance(search, PartialSearch):
            return tf.constant(0)
        permits = attributes.permits(allow, tf.fill(tf.shape(allow), ""))
        filtered = search.filter_near(embeddings, k, None, permits)
        return tf.reduce_sum(tf.cast(filtered.short, tf.int32))

    graph: Callable[..., tf.Tensor] = tf.function(
        short,
        input_signature=[
            tf.TensorSpec([None, dim], tf.float32),
            tf.TensorSpec([None, 1], tf.string),
        ],
        autograph=False,
    )
    return graph
