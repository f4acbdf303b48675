"""Model section of a run config: what the towers are made of."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag

from tfrs_twotower.documents import Document

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


class TransformerConfig(Document):
    """Self-attention text encoder, for features with `encoder: transformer`."""

    num_layers: Annotated[int, Field(ge=1, le=24)] = 2
    """Number of layers."""
    num_heads: PositiveInt = 4
    """Attention heads; must divide the embedding dimension."""
    feed_forward_dim: PositiveInt = 256
    """Width of the inner layer of each block."""


class FieldsConfig(Document):
    """What towers of every kind share: fields to vectors, and residual layers."""

    embedding_dim: Annotated[int, Field(ge=2, le=2048)] = 64
    """Dimension of the towers' output and of every embedding table."""
    num_residual_layers: Annotated[int, Field(ge=0, le=16)] = 1
    """Layers x + dropout(act(W x + b)) after the sum."""
    activation: Literal["tanh", "relu", "gelu"] = "tanh"
    """act of the layers."""
    dropout: Rate = 0.0
    """Dropout inside the layers."""
    history_dropout: Rate = 0.0
    """Share of a history's events that are hidden in each training step."""
    history_half_life: PositiveFloat | None = None
    """Halves an event's weight in the history's mean every so many events back (15 is a good
    start); null weighs all events alike."""
    id_dropout: Rate = 0.0
    """Share of ids that training replaces by the unknown row, so that the row is trained."""
    token_dropout: Rate = 0.0
    """Share of a text's tokens that are hidden in each training step."""
    bag_weights: Literal["idf", "equal"] = "idf"
    """Where the learned token weights of `bag` texts start: at the tokens' inverse document
    frequency in the corpus (Robertson's, as in BM25), or all at 1."""
    bag_positions: bool = False
    """Learns a weight for where in a `bag` text a token stands (in buckets that double in size): a
    passage often says at its beginning what it is about."""
    transformer: TransformerConfig = TransformerConfig()
    """Settings of transformer text encoders."""


class PlainTowerConfig(FieldsConfig):
    """Two plain towers.

    Each feature is encoded to one vector of `embedding_dim`; the vectors are summed, pass through
    residual layers, and are L2-normalised.
    """

    kind: Literal["plain"] = "plain"


class DatConfig(FieldsConfig):
    """Dual augmented two-tower (Yu et al., DLP-KDD 2021).

    Plain towers with one more field on each side: an augmented vector that stands for what the
    other side's tower says. Train it with `training.terms.mimic`.
    """

    kind: Literal["dat"]
    query_augmentation: Literal["auto", "learned", "history_mean", "random", "none"] = "auto"
    """`learned`: a vector for each value of the query's id feature. `history_mean`: the mean of
    the candidate tower's output over the history. `auto`: learned where there is an id feature,
    else the history's mean. `random`: drawn anew each time, a control that must not help."""
    candidate_augmentation: Literal["auto", "learned", "random", "none"] = "auto"
    """`learned`: a vector for each candidate id. `auto`: learned where there is an id feature."""
    augmentation_dropout: Rate = 0.05
    """Share of learned vectors that training replaces by the unknown id's, so that it is
    trained."""
    query_segment: str | None = None
    """Categorical query feature: an unknown query without a history gets the mean vector of its
    segment."""
    candidate_segment: str | None = None
    """The same for unknown candidates."""


class IntTowerConfig(FieldsConfig):
    """IntTower (Li et al., CIKM 2022): Light-SE, FE-Block, and a retrieval head beside it.

    The outputs of the query tower's layers are projected to heads, which meet the heads of the
    candidate tower's last layer: the sum over query heads of the largest inner product.
    """

    kind: Literal["inttower"]
    field_gate: Literal["light_se", "se", "none"] = "light_se"
    """How fields are weighed against each other; `se` is SENet as in FiBiNET."""
    body: Literal["residual", "dense"] = "residual"
    """`residual`: the gated fields' sum and `num_residual_layers` residual layers. `dense`: their
    concatenation and layers of `hidden_dims` (the paper's form)."""
    hidden_dims: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (300, 300, 128)
    """Widths of the layers of a `dense` body."""
    interaction_layers: Literal["all", "last"] = "all"
    """Query layers whose outputs take part in the interaction."""
    num_query_heads: Annotated[int, Field(ge=1, le=64)] = 4
    """Heads of each participating query layer."""
    num_candidate_heads: Annotated[int, Field(ge=1, le=64)] = 4
    """Heads of a candidate; with 1 the interaction is an inner product."""
    head_dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Dimension of a head. A candidate costs candidate_views x num_candidate_heads x head_dim
    numbers in serving."""
    candidate_views: Annotated[int, Field(ge=1, le=16)] = 1
    """Readings of a candidate, each with its own token weights for `bag` texts and with heads of
    its own: a query head finds the reading that suits it."""
    cosine_heads: bool = False
    """L2-normalises the heads, as ColBERT does and the paper does not, and starts their maps at
    the identity and the learned scale at the inverse of `softmax.temperature`: the interaction then
    starts as an inner product of small towers."""


def _kind_of(value: Any) -> str:
    kind = value.get("kind", "plain") if isinstance(value, dict) else value.kind
    return str(kind)


ModelConfig = Annotated[
    Annotated[PlainTowerConfig, Tag("plain")]
    | Annotated[DatConfig, Tag("dat")]
    | Annotated[IntTowerConfig, Tag("inttower")],
    Discriminator(
        _kind_of,
        custom_error_type="unknown_model_kind",
        custom_error_message="model.kind must be one of plain, dat, inttower",
    ),
]
"""The towers that a run trains."""
