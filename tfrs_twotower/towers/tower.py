"""The interface of a tower, the pair of towers that makes a model, and the scorer of heads."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower.config import FieldsConfig
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.features.tower_inputs import Tokens, TowerInputs
from tfrs_twotower.layers import bert, bodies, fe_block, field_encoders, seeded
from tfrs_twotower.layers.candidate_memory import CandidateContent
from tfrs_twotower.layers.field_encoders import HistoryField
from tfrs_twotower.layers.history_transformer import HistoryTransformerField
from tfrs_twotower.towers.augmentation import Augmentation

QUERY_MAP = "query.map"
"""Name of the matrix at the end of a query tower."""


class PairScorer(tf.Module):
    """`exp(a) s + b`, where s is the FE score of a query's and a candidate's heads.

    Subclasses compute another s.

    Training and serving use the same object: in-batch pairs and listed candidates differ only in
    which pairs are scored. The scale is positive, so the order is that of s. The bias starts at 0;
    it changes a sigmoid of the score, but not a softmax over candidates.
    """

    sums_maxima: ClassVar[bool] = True
    """Whether s is the FE score, which serving has operations for."""

    def __init__(self, weights: seeded.WeightMaker) -> None:
        """Makes the scale, at first 1, and the bias, at first 0."""
        super().__init__(name="scorer")
        self._log_scale = weights.constant("log_scale", [], 0.0)
        self._bias = weights.constant("bias", [], 0.0)

    def set_scale(self, scale: float) -> None:
        """Sets the scale; for cosines it is the inverse of a temperature."""
        self._log_scale.assign(math.log(scale))

    @property
    def scale(self) -> float:
        """Learned factor of every pair score, exp(a) > 0."""
        return math.exp(float(self._log_scale))

    @property
    def bias(self) -> float:
        """Learned bias added to every pair score."""
        return float(self._bias)

    def __call__(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """Scores each query with its own list of candidates.

        Args:
            query_heads: `[batch, num_heads, head_dim]`.
            candidate_heads: `[batch, n, num_candidate_heads, head_dim]`.

        Returns:
            `[batch, n]`.
        """
        return self._calibrate(self.of_lists(query_heads, candidate_heads))

    def all_pairs(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """Scores every query with every candidate.

        Args:
            query_heads: `[batch, num_heads, head_dim]`.
            candidate_heads: `[columns, num_candidate_heads, head_dim]`.

        Returns:
            `[batch, columns]`.
        """
        return self._calibrate(self.of_all_pairs(query_heads, candidate_heads))

    def of_lists(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """Returns s of `__call__`, without scale and bias."""
        return fe_block.interaction_scores(query_heads, candidate_heads)

    def of_all_pairs(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """Returns s of `all_pairs`, without scale and bias."""
        return fe_block.all_pairs(query_heads, candidate_heads)

    def _calibrate(self, scores: tf.Tensor) -> tf.Tensor:
        return tf.exp(self._log_scale) * scores + self._bias


class TowerOutput(NamedTuple):
    """The outputs of a tower for a batch."""

    embedding: tf.Tensor
    """`[batch, embedding_dim]` float32, L2-normalised but for a wide part; retrieval compares
    these."""
    heads: tf.Tensor = None
    """`[batch, num_heads, head_dim]` of an IntTower, for the FE-Block, of a mixture of logits, with
    gates in further rows, or of late interaction, the tokens; otherwise None."""
    augmented: tf.Tensor = None
    """`[batch, embedding_dim]` of a DAT side that trains augmented vectors; otherwise None."""
    slots: tf.Tensor = None
    """`[batch, num_texts, num_slots, embedding_dim]` of candidates whose texts have query slots;
    otherwise None."""


class Tower(tf.Module):
    """Maps one side's raw features to an embedding, in two phases.

    `inputs` turns raw values into tokens, which hold no strings; `embed_tokens` turns tokens into
    embeddings. Training tokenises once and calls only `embed_tokens`.
    """

    inputs: TowerInputs
    fields: Sequence[field_encoders.FieldEncoder] = ()
    """The encoder of each feature, in the order of the spec; none in towers without fields."""
    embedding_dim: int
    augmentation: Augmentation | None = None
    """The source of augmented vectors, in towers that have one."""
    has_augmented: bool = False
    """Whether `encode` returns augmented vectors."""
    unit_length: bool = True
    """Whether embeddings have norm 1."""
    map: tf.Variable | None = None
    """`[embedding_dim, embedding_dim]`: multiplies vectors before they are normalised, in query
    towers with `query_map`."""

    @property
    def num_fields(self) -> int:
        """Number of field vectors, one for each feature."""
        return len(self.inputs.features)

    def encoders_of(self, position: int) -> list[field_encoders.FieldEncoder]:
        """Returns all encoders of the feature at this position: one for each view of the tower."""
        return [self.fields[position]]

    def make_map(self, weights: seeded.WeightMaker, config: FieldsConfig) -> None:
        """Makes the map, at first the identity, if this is a query tower that has one."""
        if config.query_map != "none" and self.name == "query":
            self.map = weights.identity("map", config.embedding_dim)

    def normalise(self, vectors: tf.Tensor) -> tf.Tensor:
        """Maps vectors `[batch, embedding_dim]` if the tower has a map, and L2-normalises them."""
        if self.map is not None:
            vectors = tf.matmul(vectors, self.map)
        return bodies.l2_normalise(vectors)

    @abstractmethod
    def encode_fields(self, tokens: Tokens, training: bool = False) -> tf.Tensor:
        """Returns field vectors `[batch, num_fields, embedding_dim]`, in the order of the spec."""

    @abstractmethod
    def encode(self, tokens: Tokens, training: bool = False) -> TowerOutput:
        """Returns all outputs of this kind of tower for a batch of tokens."""

    def embed_tokens(self, tokens: Tokens, training: bool = False) -> tf.Tensor:
        """Embeds a batch of tokens: `[batch, embedding_dim]` float32; see `TowerOutput`."""
        return self.encode(tokens, training).embedding

    def __call__(self, raw: RawBatch, training: bool = False) -> tf.Tensor:
        """Embeds a batch of raw features: `embed_tokens(inputs(raw))`."""
        return self.embed_tokens(self.inputs(raw), training)


class Towers(tf.Module):
    """A query tower and a candidate tower that share tables and lookups."""

    scorer: PairScorer
    """Scores pairs of heads; only towers with heads have one."""

    def __init__(
        self,
        query: Tower,
        candidate: Tower,
        pretrained: Mapping[str, bert.BertEncoder] | None = None,
    ) -> None:
        """Joins two towers; `pretrained` holds their BERT encoders by checkpoint."""
        super().__init__(name="towers")
        self.query = query
        self.candidate = candidate
        self._pretrained_shapes = {
            name: encoder.shape for name, encoder in (pretrained or {}).items()
        }

    @property
    def pretrained_shapes(self) -> dict[str, bert.BertShape]:
        """Shapes of the pretrained encoders by checkpoint."""
        return dict(self._pretrained_shapes)

    @property
    def embedding_dim(self) -> int:
        """Dimension of the embeddings of both towers."""
        return self.query.embedding_dim

    @property
    def query_tower(self) -> Tower:
        """The query tower, under its name in the protocol `TwoTowers`."""
        return self.query

    @property
    def candidate_tower(self) -> Tower:
        """The candidate tower, under its name in the protocol `TwoTowers`."""
        return self.candidate

    @property
    def query_inputs(self) -> dict[str, tf.TensorSpec]:
        """Names, shapes and types of the query tower's raw inputs."""
        return self.query.inputs.signature

    @property
    def candidate_inputs(self) -> dict[str, tf.TensorSpec]:
        """Names, shapes and types of the candidate tower's raw inputs."""
        return self.candidate.inputs.signature

    @property
    def history_content(self) -> CandidateContent | None:
        """What histories know of candidates beside their ids; all histories share it."""
        kinds = (HistoryField, HistoryTransformerField)
        encoders = [field for field in self.query.fields if isinstance(field, kinds)]
        return encoders[0].content if encoders else None

    def adapt(self, query_tokens: Mapping[str, ArrayLike], corpus_tokens: Tokens) -> None:
        """Receives what is trained on, before the first step; augmentations build segments.

        Args:
            query_tokens: `[num_examples, ...]` of the query tower, for all training examples.
            corpus_tokens: `[num_candidates, ...]` of the candidate tower.
        """
        if self.history_content is not None:
            self.history_content.set_corpus(corpus_tokens)
        if self.query.augmentation is not None:
            self.query.augmentation.fit_segments(query_tokens)
        if self.candidate.augmentation is not None:
            self.candidate.augmentation.fit_segments(corpus_tokens)

    def update_memory(self, tokens: Tokens, embeddings: tf.Tensor) -> None:
        """Receives the candidates of each training step.

        With a memory, later steps average their embeddings over histories.

        Args:
            tokens: `[columns, ...]` of the candidate tower, from all replicas.
            embeddings: `[columns, embedding_dim]`, as the step computed them.
        """
        if self.query.augmentation is not None and self.query.augmentation.memory is not None:
            self.query.augmentation.memory.update(tokens, embeddings)

    def refresh_derived_state(self, corpus_tokens: Tokens) -> None:
        """Recomputes everything that is derived from the weights.

        Must be called before the towers are measured and before they are saved. The candidate
        tower does not depend on the memory of an augmentation, so one pass over the corpus is
        exact.

        Args:
            corpus_tokens: `[num_candidates, ...]` of the candidate tower, by name.
        """
        if self.history_content is not None:
            self.history_content.refresh(corpus_tokens)
        for tower in (self.query, self.candidate):
            if tower.augmentation is not None:
                tower.augmentation.refresh_derived_state()
        if self.query.augmentation is not None and self.query.augmentation.memory is not None:
            self.query.augmentation.memory.fill(corpus_tokens, self.candidate.embed_tokens)

    def named_variables(self) -> dict[str, tf.Variable]:
        """Returns every weight by its dotted name, sorted; a shared weight occurs once."""
        named = {variable.name.removesuffix(":0"): variable for variable in self.variables}
        return dict(sorted(named.items()))
