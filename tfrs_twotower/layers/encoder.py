"""What a field's encoder is: the second phase of a tower, tokens to one vector."""

from typing import Protocol

import tensorflow as tf

from tfrs_twotower.layers.hiding import Hiding


class FieldEncoder(Protocol):
    """Encodes one feature."""

    def __call__(self, tokens: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Field vectors `[batch, embedding_dim]`; zero where the value is missing.

        Args:
            tokens: the feature's tokens, as `TowerInputs` makes them.
            hiding: source of random masks in training; None otherwise.
        """
