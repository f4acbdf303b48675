"""The sources of the augmented vectors of a DAT: a table, the history, or random numbers."""

import zlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.layers import candidate_memory, seeded
from tfrs_twotower.specs import UNKNOWN_ROW


class Augmented(NamedTuple):
    """Augmented vectors of a batch."""

    vectors: tf.Tensor
    """`[batch, dim]`: the vectors that enter the tower."""
    trained: tf.Tensor | None
    """`[batch, dim]`: the vectors that the mimic loss trains; None if there are none."""


class Augmentation(tf.Module):
    """A source of augmented vectors."""

    learned: bool
    """Whether `trained` is set."""
    memory: candidate_memory.CandidateMemory | None = None
    """The memory in which histories are averaged, if they are."""

    @abstractmethod
    def __call__(self, tokens: Tokens, dropout: seeded.TrainingDropout | None) -> Augmented:
        """Returns the vectors for a batch of tokens; `dropout` is None outside training."""

    def fit_segments(self, tokens: Mapping[str, ArrayLike]) -> None:
        """Receives all of the side's training tokens, before the first step."""

    def refresh_derived_state(self) -> None:
        """Recomputes what is derived from the weights."""


class LearnedAugmentation(Augmentation):
    """A trained vector for each known id, and substitutes for unknown ids.

    An unknown or missing id gets the first available of

    1.  the mean of the candidate tower's output over the query's history,
    2.  the mean vector of the known ids of its segment,
    3.  the vector of row 1, which is trained because `id_dropout` sometimes uses it for known ids.

    The paper does not treat unseen ids. EasyRec hashes them, so that they get another id's vector;
    here a hashed feature is refused.
    """

    learned = True

    def __init__(
        self,
        table: tf.Variable,
        feature: str,
        *,
        id_dropout: float,
        history: str | None = None,
        memory: candidate_memory.CandidateMemory | None = None,
        segments: candidate_memory.SegmentMeans | None = None,
    ) -> None:
        """Puts the parts together.

        Args:
            table: `[num_rows, dim]` of the id feature.
            feature: name of the id feature.
            id_dropout: share of known ids that training replaces by the unknown row.
            history: name of the history feature, if there is a memory.
            memory: stored outputs of the candidate tower.
            segments: means of the table's rows.
        """
        super().__init__(name="augmentation")
        self._table = table
        self._feature = feature
        self._id_dropout = id_dropout
        self._history = history
        self.memory = memory
        self._segments = segments

    def __call__(self, tokens: Tokens, dropout: seeded.TrainingDropout | None) -> Augmented:
        """Returns the vectors of the ids, or their substitutes.

        A known id that dropout removes gets row 1 and no other substitute, which trains that row.
        """
        ids = tokens[self._feature]
        kept = ids
        if dropout is not None and self._id_dropout:
            kept = dropout.drop_ids(ids, self._id_dropout)
        rows = tf.gather(self._table, tf.maximum(kept, UNKNOWN_ROW))
        substitute = rows
        if self._segments is not None:
            substitute = _prefer(*self._segments(tokens), substitute)
        if self.memory is not None and self._history is not None:
            substitute = _prefer(*self.memory.mean(tokens[self._history]), substitute)
        known = ids > UNKNOWN_ROW
        return Augmented(tf.where(known[:, tf.newaxis], rows, substitute), rows)

    def fit_segments(self, tokens: Mapping[str, ArrayLike]) -> None:
        """Sets the members of each segment."""
        if self._segments is not None:
            self._segments.set_members(tokens)

    def refresh_derived_state(self) -> None:
        """Computes the means of the segments."""
        if self._segments is not None:
            self._segments.compute_means()


class HistoryAugmentation(Augmentation):
    """The mean of the candidate tower's output over the history; zero for an empty history.

    It needs no query id, so it serves new queries as well as known ones. It never contains the
    example's target: the history ends before the event (`before`) or leaves the candidate out
    (`leave_one_out`).
    """

    learned = False

    def __init__(self, feature: str, memory: candidate_memory.CandidateMemory) -> None:
        """Averages the history feature named `feature` in the memory."""
        super().__init__(name="augmentation")
        self._feature = feature
        self.memory: candidate_memory.CandidateMemory = memory

    def __call__(self, tokens: Tokens, dropout: seeded.TrainingDropout | None) -> Augmented:
        """Returns the means of the histories."""
        return Augmented(self.memory.mean(tokens[self._feature])[0], None)


class RandomAugmentation(Augmentation):
    """Noise of norm about 1: a control for ablations that must not improve anything.

    The DATs in the code of IntTower and HIT_model use such vectors, drawn anew in every forward
    pass. Outside training the noise of a row depends only on its position in the batch, so that a
    measurement can be repeated.
    """

    learned = True

    def __init__(self, weights: seeded.WeightMaker, dim: int) -> None:
        """Seeds the noise outside training with the prefix of `weights`, which differs by side."""
        super().__init__(name="augmentation")
        self._dim = dim
        self._key = [weights.seed & 0x7FFFFFFF, zlib.crc32(weights.prefix.encode())]

    def __call__(self, tokens: Tokens, dropout: seeded.TrainingDropout | None) -> Augmented:
        """Returns noise; the mimic loss receives it but cannot train it."""
        shape = [tf.shape(next(iter(tokens.values())))[0], self._dim]
        if dropout is None:
            noise = tf.random.stateless_normal(shape, self._key)
        else:
            noise = dropout.noise(shape)
        vectors = noise * self._dim**-0.5
        return Augmented(vectors, vectors)


def _prefer(vectors: tf.Tensor, available: tf.Tensor, otherwise: tf.Tensor) -> tf.Tensor:
    return tf.where(available[:, tf.newaxis], vectors, otherwise)
