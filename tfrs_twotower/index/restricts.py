"""Restricts: which candidates a request allows or denies, by declared candidate features."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.ranking.order import MISSING_ROW
from tfrs_twotower.specs.features import Feature

_KINDS = ("id", "categorical", "multi_categorical")
_NO_TOKEN = 0


@dataclass(frozen=True)
class Permits:
    """Restricts of a batch, as tables over the tokens that candidates have.

    Memory does not depend on how many tokens a request names.
    """

    columns: Sequence[Sequence[tf.Variable]]
    """By feature, then place in the list: token numbers int32 `[num_candidates]`, 0 for none."""
    named_features: tf.Tensor
    """bool `[batch, num_features]`: `allow` names values of the feature."""
    closed: tf.Tensor
    """bool `[batch]`: nothing passes, whatever its tokens."""
    restricts: tf.Tensor
    """bool scalar: some query of the batch leaves some candidate out."""
    allowed: tf.Tensor
    """bool `[batch, 1 + num_tokens]`; `[batch, 1]` where nothing is restricted."""
    denied: tf.Tensor
    """Tokens that `deny` names, in the shape of `allowed`."""

    def of_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Whether candidates pass.

        Args:
            rows: int32 `[batch, r]`; -1 is not a candidate and does not pass.

        Returns:
            bool `[batch, r]`.
        """
        real = rows != MISSING_ROW
        safe = tf.where(real, rows, 0)

        def passes() -> tf.Tensor:
            return self._combined(
                tf.shape(rows),
                # If it gathered from the variable itself, every later dense read would copy it.
                lambda column, table: tf.gather(
                    table, tf.gather(column.read_value(), safe), batch_dims=1
                ),
            )

        return tf.logical_and(real, tf.cond(self.restricts, passes, lambda: tf.ones_like(real)))

    def of_range(self, start: tf.Tensor | int, size: tf.Tensor | int) -> tf.Tensor:
        """Whether the candidates of consecutive rows pass: bool `[batch, size]`."""
        shape = tf.stack([tf.shape(self.closed)[0], size])

        def passes() -> tf.Tensor:
            return self._combined(
                shape,
                lambda column, table: tf.gather(table, column[start : start + size], axis=1),
            )

        return tf.cond(self.restricts, passes, lambda: tf.fill(shape, True))

    def of_queries(self, places: tf.Tensor) -> "Permits":
        """The restricts of some queries of the batch, by their places `[num_places]`."""
        per_query = ("named_features", "closed", "allowed", "denied")
        return dataclasses.replace(
            self, **{name: tf.gather(getattr(self, name), places) for name in per_query}
        )

    def _combined(
        self, shape: tf.Tensor, looked_up: Callable[[tf.Variable, tf.Tensor], tf.Tensor]
    ) -> tf.Tensor:
        """Combines the tables; `looked_up` gives a table's entries for the tokens of a column."""
        passes = tf.broadcast_to(~self.closed[:, None], shape)
        for feature, columns in enumerate(self.columns):
            allowed = tf.broadcast_to(~self.named_features[:, feature, None], shape)
            for column in columns:
                allowed = tf.logical_or(allowed, looked_up(column, self.allowed))
                passes = tf.logical_and(passes, ~looked_up(column, self.denied))
            passes = tf.logical_and(passes, allowed)
        return passes


@dataclass(frozen=True)
class CandidateAttributes:
    """The values of every candidate, of each feature by which requests may restrict."""

    values: dict[str, npt.NDArray[np.object_]]
    """By feature, bytes `[num_candidates]` or `[num_candidates, width]` in row order; b"" is
    a missing value."""

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
            names: names of the features by which requests may restrict (`export.restricts`).

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

    Every token that a candidate has is numbered; a candidate's tokens are stored in columns; a
    feature has as many columns as its longest list has values.
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
