"""What a tower is, and the pair of them that makes a model."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.features.inputs import Tokens, TowerInputs
from tfrs_twotower.layers.bert import BertEncoder, BertShape
from tfrs_twotower.layers.encoder import FieldEncoder
from tfrs_twotower.towers.pair_scorer import PairScorer


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
