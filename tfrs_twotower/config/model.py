"""Model section of a run config: what the towers are made of."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

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


class PlainTowerConfig(Document):
    """Two plain towers.

    Each feature is encoded to one vector of `embedding_dim`; the vectors are summed, pass through
    residual layers, and are L2-normalised.
    """

    kind: Literal["plain"] = "plain"
    embedding_dim: Annotated[int, Field(ge=2, le=2048)] = 64
    """Dimension of the towers' output and of every embedding table."""
    num_residual_layers: Annotated[int, Field(ge=0, le=16)] = 1
    """Layers x + dropout(act(W x + b)) after the sum."""
    activation: Literal["tanh", "relu", "gelu"] = "tanh"
    """act of the residual layers."""
    dropout: Rate = 0.0
    """Dropout inside the residual layers."""
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
    transformer: TransformerConfig = TransformerConfig()
    """Settings of transformer text encoders."""


ModelConfig = PlainTowerConfig
