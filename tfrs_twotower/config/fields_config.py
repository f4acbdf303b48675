"""What the towers of every kind have in common: fields, texts, histories."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tfrs_twotower.config.wide_config import Rate, WideConfig
from tfrs_twotower.documents import Document


class TransformerConfig(Document):
    """Self-attention over the tokens of a text or the events of a history."""

    num_layers: Annotated[int, Field(ge=1, le=24)] = 2
    """Number of layers."""
    num_heads: PositiveInt = 4
    """Attention heads; must divide the embedding dimension."""
    feed_forward_dim: PositiveInt = 256
    """Width of the inner layer of each block."""


class QuerySlotsConfig(Document):
    """Candidates that know what they may be asked (Duan, Xie, Du: Electronics 14(9), 2025).

    For each text of the candidates with a transformer, a decoder reads the text's tokens and
    predicts the tokens of a query, all at once, from learned slots. The text's tokens then read the
    slots (early interaction) before they are pooled. Queries are never read, neither in training
    nor when candidates are embedded, and a request costs what it costs without slots. Training adds
    `training.terms.query_reconstruction`. For `kind: plain`, `dat` and `colbert`. Where it was
    measured, on one set with small transformers, it did not help.
    """

    num_slots: Annotated[int, Field(ge=1, le=512)] = 16
    """Slots; the n-th predicts the n-th token of a query, and tokens beyond them are not predicted.
    At most the tokens of the query's texts (`max_tokens`)."""
    num_layers: Annotated[int, Field(ge=1, le=24)] = 1
    """Layers of the decoder; heads and widths are those of `transformer`."""


class FieldsConfig(Document):
    """Settings of towers of every kind: how fields become vectors, and the residual layers."""

    embedding_dim: Annotated[int, Field(ge=2, le=2048)] = 64
    """Dimension of the towers' output and of every embedding table."""
    num_residual_layers: Annotated[int, Field(ge=0, le=16)] = 1
    """Number of layers x + dropout(act(W x + b)) after the sum."""
    activation: Literal["tanh", "relu", "gelu"] = "tanh"
    """Activation function (act) of the layers."""
    dropout: Rate = 0.0
    """Dropout rate inside the layers."""
    history_encoder: Literal["mean", "transformer"] = "mean"
    """`mean`: the mean of the events' vectors. `transformer`: causal self-attention over the events
    in their order (SASRec), trained at every event of a query in one pass."""
    history_transformer: TransformerConfig = TransformerConfig(
        num_layers=1, num_heads=1, feed_forward_dim=128
    )
    """Sizes of that transformer."""
    history_length: PositiveInt | None = None
    """Most recent events of a history that these towers read; null reads all that the spec keeps
    (`max_length`). Linear models and neighbours always read all: more events help them long after
    they have stopped to help a mean."""
    history_dropout: Rate = 0.0
    """Share of a history's events that are hidden in each training step; of a transformer's, the
    share of the entries of their vectors."""
    history_half_life: PositiveFloat | None = None
    """Number of events after which an event's weight in the mean of the history halves (15 is a
    good start); null weights all events alike. A transformer adds this mean to its output."""
    history_content: Literal["none", "learned", "fixed"] = "none"
    """What a history says of a candidate beside its id. `learned`: the sum of the candidate's other
    field vectors (without those of pretrained encoders), so that the categories and words of what a
    query had reach its vector; histories help to train these fields. `fixed`: the same, and they do
    not. `none`: the id alone."""
    id_dropout: Rate = 0.0
    """Share of ids that training replaces with the unknown row, so that this row is trained."""
    token_dropout: Rate = 0.0
    """Share of a text's tokens that are hidden in each training step."""
    bag_weights: Literal["idf", "equal"] = "idf"
    """Initial token weights of `bag` texts: the tokens' inverse document frequency in the corpus
    (Robertson's, as in BM25), or 1 for all."""
    token_table: Literal["random", "svd"] = "random"
    """How the token vectors of the candidates' `bag` texts start. `svd`: at the leading directions
    of the corpus (truncated SVD of its token weights, as in latent semantic analysis), so that
    texts that share a vocabulary are comparable before any training; layers beside them start near
    the identity. `random`: at random."""
    bag_positions: bool = False
    """Learns a weight for the position of a token in a `bag` text (in buckets that double in size):
    a passage often names its subject at its beginning."""
    transformer: TransformerConfig = TransformerConfig()
    """Settings of transformer text encoders."""
    text_sharing: Literal["vocabulary", "siamese", "asymmetric", "projection"] = "vocabulary"
    """What the texts of both sides share (Dong et al., EMNLP 2022). `vocabulary`: texts of one
    vocabulary the token vectors, texts of one checkpoint the encoder; token weights, transformer
    layers, projections and residual layers are apart. `siamese` (SDE): texts of one vocabulary or
    checkpoint the whole encoder, and all of them the projection and the residual layers.
    `asymmetric` (ADE): nothing; both sides start from the same checkpoint or corpus. `projection`
    (ADE-SPL): the projection and the residual layers, and nothing before them."""
    query_transformer_layers: Annotated[int, Field(ge=1, le=24)] | None = None
    """Layers of the transformers over the query's texts; null takes `transformer.num_layers`. A
    request waits for those of the query, and for none of the candidates'."""
    query_slots: QuerySlotsConfig | None = None
    """Slots in which candidates' texts predict queries; not for the members of a pre-ranker."""
    wide: WideConfig | None = None
    """A linear model and popularity beside the trained vectors of the first stage; not for the
    members of a pre-ranker."""
    query_map: Literal["none", "ridge"] = "none"
    """A square matrix at the end of the query tower. `ridge`: it starts where it moves training
    queries closest to their candidates (least squares, shrunk to the identity as far as
    cross-validation over these queries asks for), and is trained further: for few queries."""

    @property
    def vector_dim(self) -> int:
        """Dimension of the vectors that retrieval compares, without a wide part."""
        return self.embedding_dim

    def transformer_of(self, side: str) -> TransformerConfig:
        """Settings of the transformers over the texts of a side, `query` or `candidate`."""
        if side == "candidate" or self.query_transformer_layers is None:
            return self.transformer
        return self.transformer.model_copy(update={"num_layers": self.query_transformer_layers})
