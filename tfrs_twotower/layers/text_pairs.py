"""A cross-encoder: one transformer reads the texts of a query and of a candidate together.

The sequence is [CLS] query [SEP] candidate [SEP], and the score of the pair is w h + b for the
output h at [CLS] (Nogueira and Cho 2019, "Passage Re-ranking with BERT"). The encoder is that of a
checkpoint, or a small one without pretraining. The latter is told what a large one has learned from
text: how rare a piece is in the corpus, and whether the other text has it, too.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import tensorflow as tf

from tfrs_twotower.config import CrossEncoderConfig
from tfrs_twotower.layers import bert, transformer
from tfrs_twotower.layers.embedding_tables import MAIN_STDDEV
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.specs import UNKNOWN_ROW

Drop = Callable[[tf.Tensor], tf.Tensor]
"""Hides entries in training."""
_NUM_MARKS = 3


class PairSequence(NamedTuple):
    """Two texts of each row in one sequence, `[n, width]` each, padding at its end."""

    pieces: tf.Tensor
    """int32, 0 is padding."""
    sides: tf.Tensor
    """int32, 0 for the query with its marks, 1 for the candidate with its mark."""
    places: tf.Tensor
    """int32, position in the own side, from 0; 0 at padding."""
    matches: tf.Tensor
    """bool: whether the other text has the piece, too."""


def pair_sequence(
    queries: tf.Tensor, candidates: tf.Tensor, *, start: int, end: int
) -> PairSequence:
    """Joins texts; the sequence is as wide as the longest pair of the batch.

    Args:
        queries: `[n, query_width]` int32 pieces, 0 is padding, at the end of a text.
        candidates: `[n, candidate_width]` in the same form.
        start: the piece [CLS].
        end: the piece [SEP].
    """
    mark = tf.ones_like(queries[:, :1])
    pieces = tf.concat([start * mark, queries, end * mark, candidates, end * mark], axis=1)
    same = queries[:, :, tf.newaxis] == candidates[:, tf.newaxis, :]
    same &= (queries > UNKNOWN_ROW)[:, :, tf.newaxis]
    none = mark < 0
    matches = tf.concat(
        [none, tf.reduce_any(same, axis=2), none, tf.reduce_any(same, axis=1), none], axis=1
    )
    present = pieces > 0
    width = tf.reduce_max(tf.reduce_sum(tf.cast(present, tf.int32), axis=1))
    order = tf.argsort(tf.cast(~present, tf.int32), axis=1, stable=True)[:, :width]
    length = tf.reduce_sum(tf.cast(queries > 0, tf.int32), axis=1, keepdims=True) + 2
    positions = tf.range(width)[tf.newaxis]
    sides = tf.cast(positions >= length, tf.int32)
    pieces = tf.gather(pieces, order, batch_dims=1)
    return PairSequence(
        pieces,
        sides,
        tf.where(pieces > 0, positions - sides * length, 0),
        tf.gather(matches, order, batch_dims=1),
    )


class PairEncoder(Protocol):
    """Contextual vectors of a sequence."""

    dim: int

    def __call__(self, sequence: PairSequence, drop: Drop) -> tf.Tensor:
        """Returns `[n, width, dim]`."""


class SmallEncoder(tf.Module):
    """A pre-LN transformer over rows of a table, and what is known of a piece without training."""

    def __init__(self, weights: WeightMaker, num_pieces: int, config: CrossEncoderConfig) -> None:
        """Makes the encoder; `num_pieces` counts the marks as well."""
        super().__init__(name="encoder")
        dim = self.dim = config.dim
        self._most_query = config.max_query_tokens + 2
        num_places = config.max_query_tokens + config.max_candidate_tokens + _NUM_MARKS
        self._table = weights.normal("pieces", [num_pieces, dim], MAIN_STDDEV)
        self._sides = weights.normal("sides", [2, dim], MAIN_STDDEV)
        self._places = weights.normal("places", [num_places, dim], MAIN_STDDEV)
        self._rare = weights.normal("rare", [dim], MAIN_STDDEV)
        self._match = weights.normal("match", [dim], MAIN_STDDEV)
        self._rarity = weights.state("rarity", [num_pieces])
        self._layers = transformer.pre_norm_layers(weights, dim, config)
        self._norm = transformer.LayerNorm(weights.under("norm"), dim)

    def set_rarity(self, rarity: tf.Tensor) -> None:
        """Sets how rare each piece is, `[num_pieces]` from 0 to 1; nothing else changes it."""
        self._rarity.assign(rarity)

    def __call__(self, sequence: PairSequence, drop: Drop) -> tf.Tensor:
        """See `PairEncoder`."""
        rarity = tf.gather(self._rarity, sequence.pieces)[:, :, tf.newaxis]
        matching = rarity * tf.cast(sequence.matches, tf.float32)[:, :, tf.newaxis]
        vectors = (
            tf.gather(self._table, sequence.pieces)
            + tf.gather(self._sides, sequence.sides)
            + tf.gather(self._places, sequence.places + sequence.sides * self._most_query)
            + rarity * self._rare
            + matching * self._match
        )
        for layer in self._layers:
            vectors = layer(vectors, sequence.pieces > 0, drop=drop)
        return self._norm(vectors)


class PretrainedPairs(tf.Module):
    """The encoder of a checkpoint, which tells the two texts apart by its segments."""

    def __init__(self, weights: WeightMaker, shape: bert.BertShape) -> None:
        """Makes the encoder; `assign` of `encoder` sets the weights of the checkpoint."""
        super().__init__(name="pretrained_pairs")
        self.dim = shape.hidden_dim
        self.encoder = bert.BertEncoder(weights, shape, with_pairs=True)

    def __call__(self, sequence: PairSequence, drop: Drop) -> tf.Tensor:
        """See `PairEncoder`; nothing is hidden in training."""
        del drop
        return self.encoder(sequence.pieces, sequence.sides)


class CrossEncoder(tf.Module):
    """Scores pairs of texts."""

    def __init__(self, weights: WeightMaker, encoder: PairEncoder, *, start: int, end: int) -> None:
        """Puts the score on top of an encoder; `start` and `end` are the pieces of the marks."""
        super().__init__(name="cross_encoder")
        self.encoder = encoder
        self._marks = {"start": start, "end": end}
        self._kernel = weights.normal("score.kernel", [encoder.dim, 1], encoder.dim**-0.5)
        self._bias = weights.constant("score.bias", [], 0.0)

    def __call__(
        self, queries: tf.Tensor, candidates: tf.Tensor, drop: Drop = lambda vectors: vectors
    ) -> tf.Tensor:
        """Scores pairs.

        Args:
            queries: `[n, query_width]` int32 pieces, 0 is padding, at the end of a text.
            candidates: `[n, candidate_width]`, the candidate of each pair, in the same form.
            drop: hides entries in training.

        Returns:
            `[n]` float32.
        """
        sequence = pair_sequence(queries, candidates, **self._marks)
        first = self.encoder(sequence, drop)[:, 0]
        return tf.matmul(first, self._kernel)[:, 0] + self._bias

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns every weight by its dotted name, sorted."""
        named = {variable.name.removesuffix(":0"): variable for variable in self.variables}
        return dict(sorted(named.items()))
