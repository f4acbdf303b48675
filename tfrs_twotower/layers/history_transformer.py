"""A causal transformer over a history: what the query wants next, after each of its events."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from tfrs_twotower.config import TransformerConfig
from tfrs_twotower.layers import seeded, transformer
from tfrs_twotower.layers.bodies import l2_normalise
from tfrs_twotower.layers.candidate_memory import CandidateContent, event_vectors
from tfrs_twotower.layers.embedding_tables import MAIN_STDDEV
from tfrs_twotower.specs import UNKNOWN_ROW

PACKED = ".packed"
"""Added to the name of a history: key of its packed form among the tokens of a training batch."""


class PackedHistories(NamedTuple):
    """The histories of the examples of a batch, where one history may serve many examples.

    The history of an example is the older part of the history of a later example of its query.
    The transformer looks only at older events, so one pass over the longest history gives the
    vectors of all of them. Several short histories share a row.
    """

    events: tf.Tensor
    """`[num_rows, width]` int32 ids; in each history the most recent event comes first. 0: none."""
    segments: tf.Tensor
    """`[num_rows, width]` int32: number of the history that an event belongs to; 0: no event."""
    places: tf.Tensor
    """`[batch]` int32: where the example's own most recent event stands in the flattened events;
    -1 for an empty history."""

    @classmethod
    def unpacked(cls, histories: tf.Tensor) -> "PackedHistories":
        """One row for each history `[batch, width]`, as a request gives them."""
        batch, width = tf.unstack(tf.shape(histories))
        present = tf.cast(histories > 0, tf.int32)
        first = tf.argmax(present, axis=1, output_type=tf.int32)
        places = tf.range(batch) * width + first
        return cls(histories, present, tf.where(tf.reduce_any(histories > 0, axis=1), places, -1))


def field_tokens(
    tokens: Mapping[str, tf.Tensor | PackedHistories], feature: str
) -> tf.Tensor | PackedHistories:
    """The tokens of a feature for its encoder: the packed form of a history if there is one."""
    return tokens.get(feature + PACKED, tokens[feature])


class HistoryTransformerField(tf.Module):
    """Causal self-attention over a query's earlier candidates (SASRec: Kang and McAuley 2018).

    An event is the unit vector of its candidate's row and, with `content`, of the candidate's
    other fields. Pre-LN layers with a learned bias for each distance between two events look at
    an event and those before it. The vector of a history is the output at its most recent event
    plus, times a learned factor, the mean of the events, in which an event's weight halves every
    `half_life` events. An empty history gets a learned vector.

    The training examples of a query are its events in turn, so that training predicts every event
    from those before it; see `PackedHistories`.
    """

    def __init__(
        self,
        weights: seeded.WeightMaker,
        table: tf.Variable,
        config: TransformerConfig,
        max_length: int,
        name: str,
        *,
        history_dropout: float = 0.0,
        dropout: float = 0.0,
        half_life: float | None = None,
        content: CandidateContent | None = None,
    ) -> None:
        """Builds the layers.

        Args:
            weights: makes the field's weights.
            table: `[num_rows, dim]`, the candidate tower's table of ids.
            config: sizes of the layers; the number of heads divides dim.
            max_length: largest number of events, the most recent ones.
            name: of the feature.
            history_dropout: share of the entries of the events' vectors that training hides.
            dropout: the same for what each layer adds.
            half_life: in events; None weights all events alike in the mean.
            content: what is known of a candidate beside its id.
        """
        super().__init__(name=name)
        dim = table.shape[1]
        self._table = table
        self.content = content
        self._max_length = max_length
        self._history_dropout = history_dropout
        self._dropout = dropout
        self._half_life = half_life
        self._empty = weights.normal("empty", [dim], MAIN_STDDEV)
        self._mean_factor = weights.constant("mean_factor", [], 1.0)
        self._distance_biases = [
            weights.constant(f"layer_{number}.distance", [config.num_heads, max_length], 0.0)
            for number in range(config.num_layers)
        ]
        self._layers = transformer.pre_norm_layers(weights, dim, config)

    def __call__(
        self, tokens: tf.Tensor | PackedHistories, dropout: seeded.TrainingDropout | None
    ) -> tf.Tensor:
        """Returns vectors `[batch, dim]`.

        Args:
            tokens: histories, most recent event first, of which `max_length` events are read;
                or packed ones.
            dropout: source of random masks in training; None outside training.
        """
        histories = (
            tokens
            if isinstance(tokens, PackedHistories)
            else PackedHistories.unpacked(tokens[:, : self._max_length])
        )
        vectors = tf.reshape(self.outputs(histories, dropout), [-1, self._table.shape[1]])
        chosen = tf.gather(vectors, tf.maximum(histories.places, 0))
        return tf.where(histories.places[:, tf.newaxis] >= 0, chosen, self._empty)

    def outputs(
        self, histories: PackedHistories, dropout: seeded.TrainingDropout | None
    ) -> tf.Tensor:
        """Returns the vector `[num_rows, width, dim]` at every event."""
        events = self._drop(dropout, self._history_dropout)(self._events(histories, dropout))
        width = tf.shape(histories.events)[1]
        # Entries run backwards in time, so an older event stands behind.
        age = tf.range(width)[tf.newaxis] - tf.range(width)[:, tf.newaxis]
        segments = histories.segments
        visible = (segments[:, :, tf.newaxis] == segments[:, tf.newaxis]) & (age >= 0)
        distance = tf.clip_by_value(age, 0, self._max_length - 1)
        vectors, drop = events, self._drop(dropout, self._dropout)
        for layer, biases in zip(self._layers, self._distance_biases, strict=True):
            vectors = layer(vectors, visible, tf.gather(biases, distance, axis=1), drop)
        mass = tf.cast(visible, tf.float32)
        if self._half_life is not None:
            mass *= tf.pow(0.5, tf.cast(distance, tf.float32) / self._half_life)
        means = tf.matmul(mass / tf.reduce_sum(mass, axis=2, keepdims=True), events)
        return vectors + self._mean_factor * means

    def _events(
        self, histories: PackedHistories, dropout: seeded.TrainingDropout | None
    ) -> tf.Tensor:
        """Vectors of norm sqrt(dim), `[num_rows, width, dim]`; zero where no candidate is known."""
        ids, position = tf.unique(tf.reshape(histories.events, [-1]))
        rows = event_vectors(self._table, self.content, ids, dropout)
        dim = self._table.shape[1]
        # An unknown id has a row of zeros at first, whose direction would have an endless gradient.
        known = tf.cast(ids > UNKNOWN_ROW, tf.float32)[:, tf.newaxis]
        rows = l2_normalise(rows) * (known * dim**0.5)
        return tf.reshape(
            tf.gather(rows, position), tf.concat([tf.shape(histories.events), [dim]], axis=0)
        )

    def _drop(
        self, dropout: seeded.TrainingDropout | None, rate: float
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        if dropout is None or not rate:
            return lambda vectors: vectors
        return lambda vectors: dropout.drop_activations(vectors, rate)
