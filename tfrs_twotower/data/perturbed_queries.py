"""Perturbed queries: what users may send tomorrow, made of the features that they sent so far.

An approximate index is measured on them beside the real queries, because it finds less for queries
that differ from those that it was tuned on. They have no labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tfrs_twotower.specs import Feature, HistoryFeature, TextFeature

_SEED = 20_211


def perturbed_inputs(
    raw: Mapping[str, NDArray[Any]],
    features: Sequence[Feature],
    candidate_ids: Sequence[str] | NDArray[np.object_],
) -> dict[str, NDArray[Any]]:
    """Disturbs every feature by itself, so that no two features of a query belong together.

    A history keeps a length that occurs and becomes random candidates; the words of all texts are
    dealt out again, to texts of the same lengths; any other feature is shuffled among the queries.
    The same queries and candidates always give the same result.

    Args:
        raw: raw features by name, `[num_queries]` or `[num_queries, width]`.
        features: the features of the query side.
        candidate_ids: ids of the corpus, at least one.

    Returns:
        Raw features of the same shapes and types.
    """
    random = np.random.default_rng(_SEED)
    ids = pa.array(candidate_ids, pa.string()).cast(pa.binary())
    perturbed = {}
    for feature in features:
        values = raw[feature.name]
        shuffled = values[random.permutation(len(values))]
        if isinstance(feature, HistoryFeature):
            rows = random.integers(0, len(ids), values.shape)
            drawn = ids.take(pa.array(rows.reshape(-1))).to_numpy(zero_copy_only=False)
            drawn = drawn.reshape(values.shape)
            shuffled = np.where(shuffled == b"", shuffled, drawn)
        elif isinstance(feature, TextFeature):
            shuffled = _dealt_words(shuffled, random)
        perturbed[feature.name] = shuffled
    return perturbed


def _dealt_words(texts: NDArray[np.object_], random: np.random.Generator) -> NDArray[np.object_]:
    words = [text.split() for text in texts]
    pool = np.array([word for own in words for word in own], object)
    ends = np.cumsum([len(own) for own in words])
    dealt = np.split(pool[random.permutation(len(pool))], ends[:-1])
    return np.array([b" ".join(own) for own in dealt], object)
