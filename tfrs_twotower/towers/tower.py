"""What a tower is, the pair of them that makes a model, and the scorer of their heads."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.features.tower_inputs import Tokens, TowerInputs
from tfrs_twotower.layers.bert import BertEncoder, BertShape
from tfrs_twotower.layers.fe_block import all_pairs, interaction_scores
from tfrs_twotower.layers.field_encoders import FieldEncoder
from tfrs_twotower.layers.initial import WeightMaker


class PairScorer(tf.Module):
    """`exp(a) s + b`, s the FE score of a query's and a candidate's heads.

    Training and serving score with the same object: in-batch pairs and listed candidates differ
    only in who meets whom. The scale is above 0, so that the order is that of s. The bias starts
    at 0; a softmax over candidates does not see the bias, a sigmoid does.
    """

    def __init__(self, weights: WeightMaker) -> None:
        """Makes the two weights; the scale starts at 1."""
        super().__init__(name="scorer")
        self._log_scale = weights.constant("log_scale", [], 0.0)
        self._bias = weights.constant("bias", [], 0.0)

    def start_at(self, scale: float) -> None:
        """Sets the scale: of cosines it is the inverse of a temperature."""
        self._log_scale.assign(math.log(scale))

    @property
    def scale(self) -> float:
        """exp(a)."""
        return math.exp(float(self._log_scale))

    @property
    def bias(self) -> float:
        """B."""
        return float(self._bias)

    def __call__(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """Scores listed candidates.

        Args:
            query_heads: `[batch, num_heads, head_dim]`.
            candidate_heads: `[batch, n, num_candidate_heads, head_dim]`.

        Returns:
            `[batch, n]`.
        """
        return self._calibrate(interaction_scores(query_heads, candidate_heads))

    def all_pairs(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """Scores every query with every candidate.

        Args:
            query_heads: `[batch, num_heads, head_dim]`.
            candidate_heads: `[columns, num_candidate_heads, head_dim]`.

        Returns:
            `[batch, columns]`.
        """
        return self._calibrate(all_pairs(query_heads, candidate_heads))

    def _calibrate(self, scores: tf.Tensor) -> tf.Tensor:
        return tf.exp(self._log_scale) * scores + self._bias


class TowerOutput(NamedTuple):
    """All that a tower says of a batch."""

    embedding: tf.Tensor
    """`[batch, embedding_dim]` float32, L2-normalised: what retrieval compares."""
    heads: tf.Tensor = None
    """`[batch, num_heads, head_dim]` of an IntTower, what the FE-Block compares; else None."""
    augmented: tf.Tensor = None
    """`[batch, embedding_dim]` augmented vectors of a DAT side with learned ones; else None."""


class Tower(tf.Module):
    """Maps one side's raw features to an embedding, in two phases.

    `inputs` turns raw values into tokens (strings end there); `embed_tokens` turns tokens into
    embeddings. Training tokenises once and calls only the second.
    """

    inputs: TowerInputs
    fields: Sequence[FieldEncoder]
    """The encoder of each feature, in the order of the spec."""
    embedding_dim: int
    has_augmented: bool = False
    """Whether `encode` gives augmented vectors."""

    @property
    def num_fields(self) -> int:
        """Number of field vectors: one for each feature."""
        return len(self.inputs.features)

    def encoders_of(self, position: int) -> list[FieldEncoder]:
        """Every encoder of the feature at this position; towers with several views have several."""
        return [self.fields[position]]

    @abstractmethod
    def encode_fields(self, tokens: Tokens, training: bool = False) -> tf.Tensor:
        """Field vectors `[batch, num_fields, embedding_dim]`, in the order of the spec."""

    @abstractmethod
    def encode(self, tokens: Tokens, training: bool = False) -> TowerOutput:
        """Everything that this kind of tower makes of a batch of tokens."""

    def embed_tokens(self, tokens: Tokens, training: bool = False) -> tf.Tensor:
        """Embeds a batch of tokens: `[batch, embedding_dim]` float32, L2-normalised."""
        return self.encode(tokens, training).embedding

    def __call__(self, raw: RawBatch, training: bool = False) -> tf.Tensor:
        """Embeds a batch of raw features: `embed_tokens(inputs(raw))`."""
        return self.embed_tokens(self.inputs(raw), training)


class Towers(tf.Module):
    """A query tower and a candidate tower that share tables and lookups."""

    scorer: PairScorer
    """Joins the heads of both towers; IntTowers have one."""

    def __init__(
        self, query: Tower, candidate: Tower, pretrained: Mapping[str, BertEncoder] | None = None
    ) -> None:
        """Joins two towers; `pretrained` are their BERT encoders by checkpoint."""
        super().__init__(name="towers")
        self.query = query
        self.candidate = candidate
        self._pretrained_shapes = {
            name: encoder.shape for name, encoder in (pretrained or {}).items()
        }

    @property
    def pretrained_shapes(self) -> dict[str, BertShape]:
        """Shapes of the pretrained encoders by checkpoint."""
        return dict(self._pretrained_shapes)

    @property
    def embedding_dim(self) -> int:
        """Dimension of both towers' output."""
        return self.query.embedding_dim

    def enrol(self, query_tokens: Mapping[str, ArrayLike], corpus_tokens: Tokens) -> None:
        """Is shown, before training, whom it will meet; a DAT notes its segments' members.

        Args:
            query_tokens: `[num_examples, ...]` of the query tower, of all training examples.
            corpus_tokens: `[num_candidates, ...]` of the candidate tower.
        """

    def observe(self, tokens: Tokens, embeddings: tf.Tensor) -> None:
        """Is told the candidates of each training step; a DAT remembers their embeddings.

        Args:
            tokens: `[columns, ...]` of the candidate tower, of all replicas.
            embeddings: `[columns, embedding_dim]`, as the step computed them.
        """

    def settle(self, corpus_tokens: Tokens) -> None:
        """Brings all that is derived from weights up to date with them.

        Called before the towers are measured and before they are saved.

        Args:
            corpus_tokens: `[num_candidates, ...]` of the candidate tower, by name.
        """

    def named_variables(self) -> dict[str, tf.Variable]:
        """Every weight under its dotted name, sorted; shared ones stand once."""
        named = {variable.name.removesuffix(":0"): variable for variable in self.variables}
        return dict(sorted(named.items()))
