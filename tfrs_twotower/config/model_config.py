"""Model section of a run config: the towers and their settings."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag

from tfrs_twotower.config.fields_config import FieldsConfig
from tfrs_twotower.config.wide_config import Rate
from tfrs_twotower.documents import Document


class PlainTowerConfig(FieldsConfig):
    """Two plain towers.

    Each feature is encoded to one vector of `embedding_dim`; the vectors are summed, pass through
    residual layers, and are L2-normalised.
    """

    kind: Literal["plain"] = "plain"


QueryAugmentation = Literal["auto", "learned", "history_mean", "random", "none"]
CandidateAugmentation = Literal["auto", "learned", "random", "none"]


class AugmentedConfig(FieldsConfig):
    """Settings of towers that may have one more field on each side, an augmented vector.

    It learns to imitate the other tower's output for positive pairs (`training.terms.mimic`).
    """

    query_augmentation: QueryAugmentation = "auto"
    """`learned`: a vector for each value of the query's id feature. `history_mean`: the mean of
    the candidate tower's output over the history. `auto`: learned where there is an id feature,
    else the history's mean. `random`: drawn anew each time, a control that must not help.
    `none`: no augmented vector."""
    candidate_augmentation: CandidateAugmentation = "auto"
    """`learned`: a vector for each candidate id. `auto`: learned where there is an id feature."""
    augmentation_dropout: Rate = 0.05
    """Share of learned vectors that training replaces with the unknown id's vector, so that this
    one is trained."""
    query_segment: str | None = None
    """Categorical query feature: an unknown query without a history gets the mean vector of the
    queries with the same value."""
    candidate_segment: str | None = None
    """Categorical candidate feature: the same for unknown candidates."""


class DatConfig(AugmentedConfig):
    """Dual augmented two-tower (Yu et al., DLP-KDD 2021): plain towers with augmented vectors."""

    kind: Literal["dat"]


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


class IntTowerConfig(AugmentedConfig, HeadsConfig):
    """IntTower (Li et al., CIKM 2022): Light-SE, FE-Block, and a retrieval head beside it.

    The outputs of the query tower's layers, and of the candidate tower's last one, are projected to
    heads. The score of a pair is the sum over query heads of the largest inner product with a
    candidate head.
    """

    kind: Literal["inttower"]
    query_augmentation: QueryAugmentation = "none"
    """As for `kind: dat`: the augmented vector is a field of the query, which the gate weighs as it
    does the others."""
    candidate_augmentation: CandidateAugmentation = "none"
    """The same for candidates. `auto` on both sides gives DAT, Light-SE and FE-Block in one."""
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


class ColdConfig(HeadsConfig):
    """A small network over both sides' heads (after COLD: Wang et al., DLP-KDD 2020).

    The heads are those of an IntTower with `cosine_heads`. Their values and all cosines of a query
    head and a candidate head go through layers with a relu; the score is the output plus a weighted
    sum of the cosines, which starts as their mean. Serving stores the heads and runs the network
    for every candidate; the query's share of the first layer is computed once for a request.
    """

    kind: Literal["cold"]
    cross_dims: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=4)] = (64, 32)
    """Widths of the layers."""


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
    | Annotated[ColdConfig, Tag("cold")]
    | Annotated[ColbertConfig, Tag("colbert")],
    Discriminator(
        _kind_of,
        custom_error_type="unknown_model_kind",
        custom_error_message="model.kind must be one of plain, dat, inttower, mol, cold, colbert",
    ),
]
"""The towers that a run trains."""
