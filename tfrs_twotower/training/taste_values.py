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
    """`[num_candidates, width]` values of each candidate from 1 on, each once; 0 for none."""
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
            tokens = lookups[feature.vocabulary_name](tf.constant(corpus.raw[feature.name])).numpy()
            of_candidates = distinct_values(tokens.reshape(len(corpus), -1))
            found.append(Values(feature.name, of_candidates, number))
    for text in spec.candidate.features:
        if isinstance(text, TextFeature) and config.words:
            texts = joined_texts(corpus.raw, (text,)) or []
            words, number = words_of_texts(texts, config.words)
            if number >= 2:
                found.append(Values(text.name, words, number))
    return found


def distinct_values(tokens: NDArray[np.integer]) -> NDArray[np.int64]:
    """Numbers of the values from 1 on, each once in a row; 0 for none.

    Args:
        tokens: `[num_candidates, width]` tokens of the values.
    """
    ordered = np.sort(np.maximum(tokens.astype(np.int64) - (NUM_SPECIAL_ROWS - 1), 0), axis=1)
    repeats = ordered[:, 1:] == ordered[:, :-1]
    ordered[:, 1:][repeats] = 0
    return ordered


def words_of_texts(texts: Sequence[str], most: int) -> tuple[NDArray[np.int64], int]:
    """Which of the words that most texts have each text has, without stop words.

    Words are those of BM25: lower-case stems. A word of a single text says nothing of others.

    Args:
        texts: one for each candidate.
        most: largest number of words.

    Returns:
        `[num_texts, width]` numbers of the words from 1 on, ascending, 0 at the end; and how many
        words are kept.
    """
    postings = build_postings(texts, k1=1.0, b=0.0)
    frequencies = postings.frequencies
    shared = np.flatnonzero(frequencies >= 2)
    kept = np.sort(shared[np.argsort(-frequencies[shared], kind="stable")[:most]])
    number_of_term = np.zeros(len(frequencies), np.int64)
    number_of_term[kept] = np.arange(1, len(kept) + 1)
    numbers = np.repeat(number_of_term, frequencies)
    rows, numbers = postings.rows[numbers > 0], numbers[numbers > 0]
    order = np.lexsort((numbers, rows))
    rows, numbers = rows[order], numbers[order]
    counts = np.bincount(rows, minlength=len(texts))
    table = np.zeros((len(texts), int(counts.max(initial=0))), np.int64)
    table[rows, np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]] = numbers
    return table, len(kept)
