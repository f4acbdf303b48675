"""Where the augmented vectors of a DAT come from: a table, the history, or chance."""

import zlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.layers.candidate_memory import CandidateMemory, SegmentMeans
from tfrs_twotower.layers.hiding import UNKNOWN_ROW, Hiding
from tfrs_twotower.layers.initial import WeightMaker


class Augmented(NamedTuple):
    """Augmented vectors of a batch."""

    vectors: tf.Tensor
    """`[batch, dim]`: what enters the tower."""
    imitating: tf.Tensor | None
    """`[batch, dim]`: what the mimic loss trains; None if nothing is there to be trained."""


class Augmentation(tf.Module):
    """A source of augmented vectors."""

    learned: bool
    """Whether `imitating` is given."""
    memory: CandidateMemory | None = None
    """What histories are averaged in, if they are."""

    @abstractmethod
    def __call__(self, tokens: Tokens, hiding: Hiding | None) -> Augmented:
        """Vectors of a batch of tokens; `hiding` is None outside training."""

    def enrol(self, tokens: Mapping[str, ArrayLike]) -> None:
        """Is shown all the side's tokens before training."""

    def settle(self) -> None:
        """Brings what is derived from weights up to date."""


class LearnedAugmentation(Augmentation):
    """A trained vector for each known id, and substitutes for the others.

    An unknown or missing id gets the first that there is of

    1.  the mean of the candidate tower's output over the query's history,
    2.  the mean vector of the known ids of its segment,
    3.  the vector of row 1, which `dropout` trains by showing it for known ids.

    The paper says nothing of ids that were not seen. EasyRec hashes them, so that they get another
    id's vector; here a hashed feature is refused.
    """

    learned = True

    def __init__(
        self,
        table: tf.Variable,
        feature: str,
        *,
        dropout: float,
        history: str | None = None,
        memory: CandidateMemory | None = None,
        segments: SegmentMeans | None = None,
    ) -> None:
        """Puts the parts together.

        Args:
            table: `[num_rows, dim]` of the id feature.
            feature: the id feature.
            dropout: share of known ids that training shows as unknown.
            history: the history feature, if there is a memory.
            memory: the candidate tower's outputs.
            segments: means of the table.
        """
        super().__init__(name="augmentation")
        self._table = table
        self._feature = feature
        self._dropout = dropout
        self._history = history
        self.memory = memory
        self._segments = segments

    def __call__(self, tokens: Tokens, hiding: Hiding | None) -> Augmented:
        """The ids' vectors, or their substitutes.

        A known id that training hides gets row 1 and no other substitute: that trains the row.
        """
        ids = tokens[self._feature]
        shown = hiding.ids(ids, self._dropout) if hiding is not None and self._dropout else ids
        rows = tf.gather(self._table, tf.maximum(shown, UNKNOWN_ROW))
        substitute = rows
        if self._segments is not None:
            substitute = _prefer(self._segments(tokens), substitute)
        if self.memory is not None and self._history is not None:
            substitute = _prefer(self.memory.mean(tokens[self._history]), substitute)
        known = ids > UNKNOWN_ROW
        return Augmented(tf.where(known[:, tf.newaxis], rows, substitute), rows)

    def enrol(self, tokens: Mapping[str, ArrayLike]) -> None:
        """Notes the members of each segment."""
        if self._segments is not None:
            self._segments.enrol(tokens)

    def settle(self) -> None:
        """Computes the segments' means."""
        if self._segments is not None:
            self._segments.settle()


class HistoryAugmentation(Augmentation):
    """The mean of the candidate tower's output over the history; zero without one.

    It needs no query id, so it serves new queries as well as old ones, and it has not seen the
    example's target: the history ends before the event (`before`) or leaves the candidate out
    (`leave_one_out`).
    """

    learned = False

    def __init__(self, feature: str, memory: CandidateMemory) -> None:
        """Averages the history `feature` in the `memory`."""
        super().__init__(name="augmentation")
        self._feature = feature
        self.memory: CandidateMemory = memory

    def __call__(self, tokens: Tokens, hiding: Hiding | None) -> Augmented:
        """The histories' means."""
        return Augmented(self.memory.mean(tokens[self._feature])[0], None)


class RandomAugmentation(Augmentation):
    """Noise of norm about 1: a control for ablations, which must not help.

    This is what the DATs in the code of IntTower and HIT_model use, where the vectors are drawn
    anew in every forward pass. Outside training a row's noise depends on its place in the batch
    only, so that a measurement can be repeated; it says as little.
    """

    learned = True

    def __init__(self, weights: WeightMaker, dim: int) -> None:
        """Makes a source of its own under the name of the weights, which tells sides apart."""
        super().__init__(name="augmentation")
        self._dim = dim
        self._key = [weights.seed & 0x7FFFFFFF, zlib.crc32(weights.prefix.encode())]

    def __call__(self, tokens: Tokens, hiding: Hiding | None) -> Augmented:
        """Noise, which the mimic loss is shown but cannot train."""
        shape = [tf.shape(next(iter(tokens.values())))[0], self._dim]
        noise = (
            tf.random.stateless_normal(shape, self._key) if hiding is None else hiding.noise(shape)
        )
        vectors = noise * self._dim**-0.5
        return Augmented(vectors, vectors)


def _prefer(found: tuple[tf.Tensor, tf.Tensor], otherwise: tf.Tensor) -> tf.Tensor:
    vectors, there_is = found
    return tf.where(there_is[:, tf.newaxis], vectors, otherwise)
