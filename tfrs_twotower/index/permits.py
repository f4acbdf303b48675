"""Which candidates the restricts of a batch of queries let pass."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfrs_twotower.index.exact import MISSING_ROW


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
    """As `allowed`."""

    def of_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Whether candidates pass.

        Args:
            rows: int32 `[batch, r]`; -1 is no candidate and does not pass.

        Returns:
            bool `[batch, r]`.
        """
        real = rows != MISSING_ROW
        safe = tf.where(real, rows, 0)

        def passes() -> tf.Tensor:
            return self._combined(
                tf.shape(rows),
                # Gathered from a variable itself, every later dense read of it would be a copy.
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
        """`looked_up` gives, for a column and a table, what the table says of its tokens."""
        passes = tf.broadcast_to(~self.closed[:, None], shape)
        for feature, columns in enumerate(self.columns):
            allowed = tf.broadcast_to(~self.named_features[:, feature, None], shape)
            for column in columns:
                allowed = tf.logical_or(allowed, looked_up(column, self.allowed))
                passes = tf.logical_and(passes, ~looked_up(column, self.denied))
            passes = tf.logical_and(passes, allowed)
        return passes
