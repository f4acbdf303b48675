"""Model section of a run config: the towers and their settings."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag

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


class PlainTowerConfig(FieldsConfig):
    """Two plain towers.

    Each feature is encoded to one vector of `embedding_dim`; the vectors are summed, pass through
    residual layers, and are L2-normalised.
    """

    kind: Literal["plain"] = "plain"


class DatConfig(FieldsConfig):
    """Dual augmented two-tower (Yu et al., DLP-KDD 2021).

    Plain towers with one more field on each side: an augmented vector, which learns to imitate the
    other tower's output for positive pairs (`training.terms.mimic`).
    """

    kind: Literal["dat"]
    query_augmentation: Literal["auto", "learned", "history_mean", "random", "none"] = "auto"
    """`learned`: a vector for each value of the query's id feature. `history_mean`: the mean of
    the candidate tower's output over the history. `auto`: learned where there is an id feature,
    else the history's mean. `random`: drawn anew each time, a control that must not help.
    `none`: no augmented vector."""
    candidate_augmentation: Literal["auto", "learned", "random", "none"] = "auto"
    """`learned`: a vector for each candidate id. `auto`: learned where there is an id feature."""
    augmentation_dropout: Rate = 0.05
    """Share of learned vectors that training replaces with the unknown id's vector, so that this
    one is trained."""
    query_segment: str | None = None
    """Categorical query feature: an unknown query without a history gets the mean vector of the
    queries with the same value."""
    candidate_segment: str | None = None
    """Categorical candidate feature: the same for unknown candidates."""


class HeadsConfig(FieldsConfig):
    """Settings of towers with heads: gated fields, a body, and several vectors for pair scores."""

    field_gate: Literal["light_se", "se", "none"] = "light_se"
    """How the fields are weighted: Light-SE, SENet as in FiBiNET (`se`), or all alike (`none`)."""
    body: Literal["residual", "dense"] = "residual"
    """`residual`: the sum of the weighted fields and `num_residual_layers` residual layers.
    `dense`: their concatenation and layers of `hidden_dims` (the paper's form)."""
    hidden_dims: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (300, 300, 128)
    """Widths of the layers of a `dense` body."""
    interaction_layers: Literal["all", "last"] = "all"
    """Query layers whose outputs take part in the interaction."""
    num_query_heads: Annotated[int, Field(ge=1, le=64)] = 4
    """Heads of each participating query layer."""
    num_candidate_heads: Annotated[int, Field(ge=1, le=64)] = 4
    """Heads of a candidate; with 1 the interaction of an IntTower is an inner product."""
    head_dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Dimension of a head. Serving stores candidate_views x num_candidate_heads x head_dim numbers
    for each candidate."""

    @property
    def num_query_layers(self) -> int:
        """Number of query layers that have heads."""
        if self.interaction_layers == "last":
            return 1
        return len(self.hidden_dims) if self.body == "dense" else 1 + self.num_residual_layers


class IntTowerConfig(HeadsConfig):
    """IntTower (Li et al., CIKM 2022): Light-SE, FE-Block, and a retrieval head beside it.

    The outputs of the query tower's layers, and of the candidate tower's last one, are projected to
    heads. The score of a pair is the sum over query heads of the largest inner product with a
    candidate head.
    """

    kind: Literal["inttower"]
    candidate_views: Annotated[int, Field(ge=1, le=16)] = 1
    """Views of a candidate, each with token weights for `bag` texts and heads of its own: a query
    head is compared with the view that suits it best."""
    cosine_heads: bool = False
    """L2-normalises the heads, as ColBERT does and the paper does not. Their projections start at
    the identity and the learned scale at the inverse of `softmax.temperature`, so that the score
    starts as an inner product of small towers."""


class MolConfig(HeadsConfig):
    """Mixture of logits (Zhai et al., KDD 2023), beside a retrieval head.

    The heads are those of an IntTower with `cosine_heads`. The score of a pair is a weighted mean
    of all its cosines of a query head and a candidate head; the weights depend on the query, on the
    candidate and on the cosines. Serving stores the candidate's share of the weights with its
    heads: one number for each pair of heads, in further rows of `head_dim` numbers.
    """

    kind: Literal["mol"]
    gate_dim: Annotated[int, Field(ge=1, le=1024)] = 16
    """Width of the hidden layer of each of the three networks that make the weights."""

    @property
    def num_pairs(self) -> int:
        """Pairs of a query head and a candidate head."""
        return self.num_query_layers * self.num_query_heads * self.num_candidate_heads


class MuveraConfig(Document):
    """Fixed dimensional encodings of tokens (MUVERA: Dhulipala et al., NeurIPS 2024).

    The vectors of the first stage estimate the score of late interaction by their inner product, so
    that an ordinary index finds its candidates. They have repetitions x 2^bits x head_dim + 1
    entries.
    """

    repetitions: Annotated[int, Field(ge=1, le=64)] = 8
    """Estimates that are averaged, each with hyperplanes of its own."""
    bits: Annotated[int, Field(ge=0, le=8)] = 3
    """Hyperplanes of each, which cut the space into 2^bits buckets."""


class ColbertConfig(FieldsConfig):
    """Late interaction (ColBERT: Khattab and Zaharia, SIGIR 2020), beside a retrieval head.

    The score of a pair is the mean over the query's tokens of the largest cosine with a token of
    the candidate. Tokens are those of all `text` features of a side; those of a `bag` are weighted
    on the query's side as the bag weights them.
    """

    kind: Literal["colbert"]
    head_dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Dimension of a token's vector."""
    max_query_tokens: Annotated[int, Field(ge=1, le=512)] = 32
    """Tokens of a query that are compared, the first ones."""
    max_candidate_tokens: Annotated[int, Field(ge=1, le=512)] = 64
    """Tokens of a candidate that are compared, the first ones. Serving stores max_candidate_tokens
    x head_dim numbers for each candidate (`export.candidate_heads: int8` takes a quarter)."""
    muvera: MuveraConfig | None = None
    """Vectors of the first stage that are made of the tokens alone; not for the members of a
    pre-ranker. null: those of a plain tower, of all features."""

    @property
    def vector_dim(self) -> int:
        """See `FieldsConfig`."""
        if self.muvera is None:
            return self.embedding_dim
        return self.muvera.repetitions * 2**self.muvera.bits * self.head_dim + 1


def _kind_of(value: Any) -> str:
    kind = value.get("kind", "plain") if isinstance(value, dict) else value.kind
    return str(kind)


ModelConfig = Annotated[
    Annotated[PlainTowerConfig, Tag("plain")]
    | Annotated[DatConfig, Tag("dat")]
    | Annotated[IntTowerConfig, Tag("inttower")]
    | Annotated[MolConfig, Tag("mol")]
    | Annotated[ColbertConfig, Tag("colbert")],
    Discriminator(
        _kind_of,
        custom_error_type="unknown_model_kind",
        custom_error_message="model.kind must be one of plain, dat, inttower, mol, colbert",
    ),
]
"""The towers that a run trains."""
