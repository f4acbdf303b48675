"""The values whose tastes are scored: those of the candidates' categories, and words of texts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.config import TasteMemberConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.loading import joined_texts
from tfrs_twotower.features.lookup import build_lookups
from tfrs_twotower.specs import NUM_SPECIAL_ROWS, FeatureSpec, TextFeature, taste_features


class Values(NamedTuple):
    """The values of one feature."""

    feature: str
    of_candidates: NDArray[np.int64]
    """`[num_candidates, width]` values of each candidate, negative for none."""
    number: int
    """How many values there are."""


def taste_values(
    spec: FeatureSpec, config: TasteMemberConfig, assets: Assets, corpus: Corpus
) -> list[Values]:
    """Returns the values of every feature that has between 2 and the largest number of them."""
    lookups = build_lookups(spec, assets)
    found = []
    for feature in taste_features(spec):
        number = len(assets.vocabulary(feature.vocabulary_name))
        if 2 <= number <= config.max_values:
            raw = tf.constant(corpus.raw[feature.name])
            values = lookups[feature.vocabulary_name](raw).numpy() - NUM_SPECIAL_ROWS
            found.append(Values(feature.name, values.reshape(len(corpus), -1), number))
    for text in spec.candidate.features:
        if isinstance(text, TextFeature) and config.words:
            texts = joined_texts(corpus.raw, (text,)) or []
            places, number = word_places(texts, config.words)
            if number >= 2:
                found.append(Values(text.name, places, number))
    return found


def word_places(texts: Sequence[str], most: int) -> tuple[NDArray[np.int64], int]:
    """Which of the words that most texts have each text has, without stop words.

    Words are those of BM25: lower-case stems. A word of a single text says nothing of others.

    Args:
        texts: one for each candidate.
        most: largest number of words.

    Returns:
        `[num_texts, width]` places of the words among those that are kept, ascending, -1 at the
        end; and how many are kept.
    """
    postings = build_postings(texts, k1=1.0, b=0.0)
    frequencies = postings.frequencies
    shared = np.flatnonzero(frequencies >= 2)
    kept = np.sort(shared[np.argsort(-frequencies[shared], kind="stable")[:most]])
    place_of_term = np.full(len(frequencies), -1)
    place_of_term[kept] = np.arange(len(kept))
    places = np.repeat(place_of_term, frequencies)
    rows, places = postings.rows[places >= 0], places[places >= 0]
    order = np.lexsort((places, rows))
    rows, places = rows[order], places[order]
    counts = np.bincount(rows, minlength=len(texts))
    table = np.full((len(texts), int(counts.max(initial=0))), -1)
    table[rows, np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]] = places
    return table, len(kept)
