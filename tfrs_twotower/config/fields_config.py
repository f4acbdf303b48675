"""What the towers of every kind have in common: fields, texts, histories, a wide part."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tfrs_twotower.documents import Document

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


class TransformerConfig(Document):
    """Self-attention over the tokens of a text or the events of a history."""

    num_layers: Annotated[int, Field(ge=1, le=24)] = 2
    """Number of layers."""
    num_heads: PositiveInt = 4
    """Attention heads; must divide the embedding dimension."""
    feed_forward_dim: PositiveInt = 256
    """Width of the inner layer of each block."""


class LinearModelConfig(Document):
    """Settings of a linear model of the query's history."""

    l2: PositiveFloat = 200.0
    """L2 weight of EASE and RDLAE."""
    dropout: Rate = 0.5
    """Share of a history that RDLAE hides from itself."""
    diagonal: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Largest weight of a candidate for itself, of RDLAE."""
    half_lives: Annotated[tuple[PositiveFloat | None, ...], Field(min_length=1, max_length=16)] = (
        None,
        8.0,
    )
    """Half-lives in events, one score for each: an event counts half as much as an event that is
    this many events more recent; with null all events count alike. Of repeated events with one
    candidate the latest counts."""
    events: Literal["positive", "all"] = "positive"
    """Which events it learns from. `all`: those whose label is below `relevance.min_label`, too; a
    low rating still says that the query chose the candidate."""
    max_candidates: PositiveInt = 20_000
    """Largest corpus that EASE and RDLAE accept: they invert a matrix of this order."""


class WideConfig(LinearModelConfig):
    """What stands beside the trained vectors in the first stage: a linear model, and popularity.

    The vectors become longer: a query's by the weighted sum of its history's linear vectors and by
    the weights of popularity, a candidate's by its linear vector and its log-counts. The inner
    product, and with it the index, then knows all three. The weights are fitted on validation
    queries, apart for queries without a history or a known id; a part that does not help there is
    left out, and costs nothing.
    """

    kind: Literal["ease", "rdlae", "truncated", "elsa", "none"] = "ease"
    """`ease`: Steck 2019. `rdlae`: EASE with dropout and a diagonal of at most `diagonal` (Moon et
    al. 2023). `truncated`: EASE on the leading singular directions of the interactions, for corpora
    that are too large to invert; takes seconds, and asks for a larger l2. `elsa`: A A' - I with
    unit rows of A, trained by gradient, for such corpora, too (Vancura et al. 2022). `none`:
    popularity alone."""
    rank: Annotated[int, Field(ge=1, le=4096)] = 64
    """Dimensions of the linear model. EASE and RDLAE are cut to the directions that matter most to
    the scores of the training queries; a rank of the number of candidates is exact."""
    popularity_days: Annotated[tuple[PositiveFloat | None, ...], Field(max_length=8)] = (
        None,
        30.0,
        7.0,
    )
    """Windows in days, one dimension for each: log(1 + the candidate's positive interactions in so
    many last days of the training window); null is the whole window. Data without time have only
    that. May be empty."""
    epochs: PositiveInt = 20
    """Passes of `elsa` over the histories."""


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
