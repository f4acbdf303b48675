"""Lookups from strings to rows of an embedding table: 0 padding, 1 unknown, 2 and up values."""

from typing import Protocol, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower import specs
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus

_Number = TypeVar("_Number", np.float32, np.int32)


class Lookup(Protocol):
    """Maps strings of any shape to int32 rows."""

    num_rows: int
    """Rows that the table needs."""

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Rows of the values."""


class VocabularyLookup(tf.Module):
    """Row 2 + the position in a vocabulary."""

    def __init__(self, values: list[str], name: str) -> None:
        super().__init__(name=name)
        self.num_rows = specs.NUM_SPECIAL_ROWS + len(values)
        keys = ["", *values]
        rows = [specs.PADDING_ROW, *range(specs.NUM_SPECIAL_ROWS, self.num_rows)]
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, rows, tf.string, tf.int32), specs.UNKNOWN_ROW
        )

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Rows of the values; "" is padding, a value not in the list is unknown."""
        return self._table.lookup(values)


class HashLookup(tf.Module):
    """Row 2 + a hash of the bytes; collisions share a row."""

    def __init__(self, num_buckets: int, name: str) -> None:
        super().__init__(name=name)
        self.num_rows = specs.NUM_SPECIAL_ROWS + num_buckets
        self._num_buckets = num_buckets

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Rows of the values; "" is padding, nothing is unknown."""
        buckets = tf.strings.to_hash_bucket_fast(values, self._num_buckets)
        rows = tf.cast(buckets, tf.int32) + specs.NUM_SPECIAL_ROWS
        return tf.where(tf.equal(values, ""), specs.PADDING_ROW, rows)


def build_lookups(spec: specs.FeatureDeclarations, assets: Assets) -> dict[str, Lookup]:
    """One lookup for each vocabulary of ids and categories, under the vocabulary's name.

    Raises:
        MissingArtifact: the assets lack a vocabulary that the spec names.
    """
    lookups: dict[str, Lookup] = {}
    for feature in (*spec.query.features, *spec.candidate.features):
        if isinstance(
            feature, specs.IdFeature | specs.CategoricalFeature | specs.MultiCategoricalFeature
        ):
            name = feature.vocabulary_name
            if name in lookups:
                continue
            if feature.hash_buckets is None:
                lookups[name] = VocabularyLookup(assets.vocabulary(name), name)
            else:
                lookups[name] = HashLookup(feature.hash_buckets, name)
    return lookups


def row_of_token(
    spec: specs.FeatureDeclarations, assets: Assets, corpus: Corpus
) -> NDArray[np.int32]:
    """`[2 + vocabulary size]` corpus rows; -1 at padding, unknown, and what left the corpus.

    The candidate's id, if there is one, is looked up in a vocabulary, not hashed.
    """
    feature = spec.candidate_id_feature
    ids = assets.vocabulary(feature.vocabulary_name) if feature else []
    return np.append(np.full(specs.NUM_SPECIAL_ROWS, -1, np.int32), corpus.row_of(ids))


def by_token(
    values: NDArray[_Number], row_of_token: NDArray[np.int32], missing: int = 0
) -> NDArray[_Number]:
    """Values `[num_candidates, n]` of candidates as `[2 + vocabulary size, n]`, by `row_of_token`.

    `missing` stands where a token has no candidate.
    """
    fill = values.dtype.type(missing)
    return np.where(row_of_token[:, None] >= 0, values[row_of_token], fill)
