"""Restricts: which candidates a request allows or denies, by declared candidate features.

A request names values as tokens `feature=value`, such as `genres=Comedy`. Of every feature that
`allow` names, a candidate needs at least one of the named values; a candidate with any value of
`deny` is left out. "" is no token. What cannot be understood in `allow` (no `=`, a feature that
is not declared, a value that no candidate has) lets nothing pass; in `deny` it denies nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.index.permits import Permits
from tfrs_twotower.specs.features import Feature

_KINDS = ("id", "categorical", "multi_categorical")
_NO_TOKEN = 0


@dataclass(frozen=True)
class CandidateAttributes:
    """The values of every candidate, of each feature by which requests may restrict."""

    values: dict[str, npt.NDArray[np.object_]]
    """By feature, bytes `[num_candidates]` or `[num_candidates, width]` in row order; b"" is no
    value."""

    @classmethod
    def of(
        cls,
        raw: Mapping[str, npt.NDArray[Any]],
        features: Sequence[Feature],
        names: Sequence[str],
    ) -> "CandidateAttributes":
        """Takes features out of a corpus.

        Args:
            raw: raw candidate features in row order, as `Corpus.raw`.
            features: the spec's candidate features.
            names: those by which requests may restrict (`export.restricts`).

        Raises:
            ConfigError: there is no such feature, or its kind has no values to name.
        """
        declarable = [feature.name for feature in features if feature.kind in _KINDS]
        for name in names:
            if name not in declarable:
                raise ConfigError(
                    f"export.restricts: found {name!r}; requests can restrict by candidate "
                    f"features of kind {', '.join(_KINDS)}, which are "
                    f"{', '.join(declarable) or 'none in this spec'}."
                )
        return cls({name: raw[name] for name in names})

    def rows(self, rows: npt.NDArray[np.integer]) -> "CandidateAttributes":
        """The values of some candidates only, in the order of `rows`."""
        return CandidateAttributes({name: values[rows] for name, values in self.values.items()})


class Attributes(tf.Module):
    """Candidate attributes in the graph.

    Every token that a candidate has is numbered; a candidate's tokens stand in columns, as many a
    feature as its longest list.
    """

    def __init__(self, attributes: CandidateAttributes) -> None:
        """Numbers the tokens and keeps each candidate's in variables.

        Args:
            attributes: at least one feature.
        """
        super().__init__(name="attributes")
        tokens: list[bytes] = []
        self.features = tuple(attributes.values)
        self.columns: list[list[tf.Variable]] = []
        """By feature, then place in the list: token numbers int32 `[num_candidates]`."""
        for name, values in attributes.values.items():
            encoded = pa.array(values.reshape(-1).astype(object), pa.binary()).dictionary_encode()
            known = encoded.dictionary.to_pylist()
            number_of = np.zeros(len(known), np.int32)
            for place, value in enumerate(known):
                if value:
                    tokens.append(name.encode() + b"=" + value)
                    number_of[place] = len(tokens)
            numbers = number_of[encoded.indices.to_numpy()].reshape(len(values), -1)
            columns = -np.sort(-numbers, axis=1)
            used = max(1, int((columns != _NO_TOKEN).any(axis=0).sum()))
            self.columns.append(
                [
                    tf.Variable(np.ascontiguousarray(column), trainable=False, name=name)
                    for column in columns[:, :used].T
                ]
            )
        self._num_tokens = len(tokens)
        self._numbers = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant([b"", *tokens]), tf.range(1 + len(tokens))
            ),
            _NO_TOKEN,
        )

    def permits(self, allow: tf.Tensor, deny: tf.Tensor) -> Permits:
        """What each query of a batch lets pass.

        Args:
            allow: string tokens `[batch, n]`; "" is ignored.
            deny: string tokens `[batch, m]`; "" is ignored.
        """
        allowed, denied = self._numbers.lookup(allow), self._numbers.lookup(deny)
        named = [tf.strings.substr(allow, 0, len(name) + 1) == f"{name}=" for name in self.features]
        understood = tf.reduce_any(tf.stack([allow == "", *named], axis=0), axis=0)
        closed = ~tf.reduce_all(understood, axis=1)
        for tokens in named:
            known = tf.logical_and(tokens, allowed != _NO_TOKEN)
            without = tf.logical_and(tf.reduce_any(tokens, axis=1), ~tf.reduce_any(known, axis=1))
            closed = tf.logical_or(closed, without)
        named_features = tf.stack([tf.reduce_any(tokens, axis=1) for tokens in named], axis=1)
        restricts = tf.reduce_any(tf.concat([closed[:, None], named_features, denied > 0], axis=1))
        allowed_table, denied_table = tf.cond(
            restricts,
            lambda: (self._table(allowed), self._table(denied)),
            lambda: (tf.fill([tf.shape(allow)[0], 1], False),) * 2,
        )
        return Permits(self.columns, named_features, closed, restricts, allowed_table, denied_table)

    def _table(self, numbers: tf.Tensor) -> tf.Tensor:
        """Which tokens each query names: bool `[batch, 1 + num_tokens]`; "" never."""
        batch = tf.shape(numbers)[0]
        known = tf.where(numbers > _NO_TOKEN)
        columns = tf.boolean_mask(numbers, numbers > _NO_TOKEN)
        places = tf.stack([tf.cast(known[:, 0], tf.int32), columns], axis=1)
        empty = tf.fill([batch, 1 + self._num_tokens], False)
        return tf.tensor_scatter_nd_update(empty, places, tf.fill([tf.shape(places)[0]], True))
