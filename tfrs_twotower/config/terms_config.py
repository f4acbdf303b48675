"""Terms of the objective in a run config, beside the retrieval softmax."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from tfrs_twotower.documents import Document


class DualConfig(Document):
    """The other direction of the softmax, candidate to query (DANCE: Li et al., ICTIR 2021).

    With `training.ance` mined queries are among its negatives.
    """

    weight: PositiveFloat = 0.1
    """Weight of the term."""


class MatryoshkaConfig(Document):
    """The softmax of shorter vectors, too (Matryoshka: Kusupati et al., NeurIPS 2022).

    The first entries of a vector, L2-normalised, then rank by themselves, and `embed.width` chooses
    how many are served without another training.
    """

    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=8)]
    """Numbers of first entries, each less than `model.embedding_dim`, whose own softmax is always
    trained."""
    weight: PositiveFloat = 1.0
    """Weight of the mean of their losses; the loss of the whole vectors is the softmax's own."""


class MimicConfig(Document):
    """Augmented vectors imitate the other tower's output for positives (DAT; `kind: dat`)."""

    query_weight: NonNegativeFloat = 0.5
    """Weight of the queries' term."""
    candidate_weight: NonNegativeFloat = 0.5
    """Weight of the candidates' term."""


class CategoryAlignmentConfig(Document):
    """Draws the covariances of all categories towards that of the batch's largest one (DAT)."""

    feature: str
    """Categorical candidate feature."""
    weight: PositiveFloat = 1.0
    """Weight of the term."""
    scale_by_dim: bool = True
    """Multiplies the term by embedding_dim, because for unit vectors it is of the order of
    1 / embedding_dim."""
    stop_major_gradient: bool = True
    """Only the smaller categories get a gradient."""


class ContrastiveInteractionConfig(Document):
    """CIR: InfoNCE between the flattened heads of both sides (`kind: inttower`)."""

    weight: PositiveFloat = 0.05
    """Weight of the term."""
    temperature: Annotated[float, Field(ge=0.01, le=10.0)] = 0.1
    """Divisor of the cosines."""


class InteractionConfig(Document):
    """Softmax of the heads' score over the candidates of the batch (for towers with heads)."""

    weight: PositiveFloat = 1.0
    """Weight of the term."""


class QueryReconstructionConfig(Document):
    """Cross entropy of the query's tokens, which its positive's slots predict (`query_slots`).

    The paper gives its weight lambda = 0.8 and not its formula, which has two readings.
    """

    balance: Annotated[float, Field(ge=0.0, le=1.0)] = 0.8
    """The paper's lambda. Other terms of the objective keep their weights."""
    reading: Literal["shares", "sum"] = "shares"
    """`shares`: lambda x softmax + (1 - lambda) x reconstruction, so that ranking comes first; 1
    leaves the reconstruction out. `sum`: softmax + lambda x reconstruction; 0 leaves it out."""

    @property
    def softmax_share(self) -> float:
        """Factor of the weight of the retrieval softmax."""
        return self.balance if self.reading == "shares" else 1.0

    @property
    def weight(self) -> float:
        """Weight of the reconstruction."""
        return 1.0 - self.balance if self.reading == "shares" else self.balance

    @model_validator(mode="after")
    def _ranks(self) -> "QueryReconstructionConfig":
        if self.softmax_share == 0.0:
            raise ValueError(
                "balance: found 0 with reading: shares, which leaves the retrieval softmax out. "
                "Set it above 0, or reading: sum."
            )
        return self


class MultiViewConfig(Document):
    """Further views of texts as further positives: some tokens are hidden, anew in each step."""

    side: Literal["query", "candidate", "both"] = "both"
    """Whose texts are seen twice. Each side costs another pass of its tower."""
    token_dropout: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """Share of a text's tokens that a view lacks; `model.token_dropout` acts on what is left."""
    weight: PositiveFloat = 0.5
    """Weight of the term."""


class TermsConfig(Document):
    """Terms of the objective beside the retrieval softmax; null leaves one out.

    Each is a mean over the batch, is logged under its own name, and is plotted in the report.
    """

    dual: DualConfig | None = None
    """Candidate to query."""
    matryoshka: MatryoshkaConfig | None = None
    """Shorter vectors that rank by themselves; of the first stage."""
    multi_view: MultiViewConfig | None = None
    """For towers with text."""
    mimic: MimicConfig | None = None
    """For `kind: dat`, and `inttower` with augmented vectors; these towers get it with its default
    weights if it is not mentioned."""
    category_alignment: CategoryAlignmentConfig | None = None
    """For towers whose candidates have a categorical feature."""
    query_reconstruction: QueryReconstructionConfig | None = None
    """For towers with `model.query_slots`; these get it with its defaults if it is not
    mentioned."""
    contrastive_interaction: ContrastiveInteractionConfig | None = None
    """For `kind: inttower`."""
    interaction: InteractionConfig | None = None
    """For `kind: inttower`, `mol`, `cold` and `colbert`; these towers get it with its default
    weight if it is not mentioned."""
