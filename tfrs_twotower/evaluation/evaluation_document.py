"""`evaluation.json` as classes: what an evaluation measured, and how.

`docs/schemas/evaluation.schema.json` is generated from them. Three keys of the file end in a list
length, such as `ann_overlap@100`.
"""

from typing import ClassVar, Literal

from pydantic import Field

from tfrs_twotower.evaluation.protocol_document import Protocol
from tfrs_twotower.evaluation.written_documents import Environment, Finite, Part, PartWithLength

Metrics = dict[str, "Figure"]
"""Figures by metric, such as `recall@20`."""
Standing = Literal["ahead", "level", "behind", "untested"]
"""Of the model against a baseline: significantly better, no significant difference, or worse."""


class Figure(Part):
    """A mean over queries with its 95 % interval."""

    mean: Finite
    """Mean over the queries."""
    ci95: tuple[Finite, Finite]
    """Lower and upper end of the interval."""
    queries: int
    """Number of queries that the mean is over."""


class SliceFigures(Part):
    """Metrics on one part of the test."""

    title: str
    """Description of the part."""
    queries: int
    """Queries that have something relevant in the part."""
    relevant: int
    """Relevant pairs in the part."""
    metrics: Metrics
    """The key metrics; a slice of candidates keeps the full ranking."""


class SystemFigures(Part):
    """All figures of one system."""

    metrics: Metrics
    """Every metric at every list length."""
    slices: dict[str, SliceFigures]
    """Parts of the test by name."""


class LeakFinding(Part):
    """A check of the leakage check that is not passed."""

    check: str
    """Name of the check."""
    count: int
    """Number of cases."""
    leak: bool
    """Whether one case proves a leak; other findings are only noted."""
    message: str
    """What the cases are."""


class LeakageCheck(Part):
    """Signs that training saw what the test asks."""

    verdict: Literal["clean", "leaky"]
    """`leaky` if a check that proves a leak has a case."""
    findings: tuple[LeakFinding, ...]
    """Checks with at least one case."""
    passed: tuple[str, ...]
    """Names of the checks without a case."""


class Pool(PartWithLength):
    """The candidates that retrieval passes to the second stage, and what each stage keeps."""

    figure_at_length: ClassVar[str] = "recall"
    length: ClassVar[str] = "num_candidates"

    num_candidates: int
    """Candidates that the second stage scores again."""
    recall: Figure
    """Recall of the pool, the ceiling of the cascade; the key ends in `num_candidates`."""
    weights: dict[str, Finite]
    """Weight of each feature in the final score."""
    kept: dict[str, Metrics]
    """`kept@K` of each stage: its recall@K over the ceiling."""
    best: Metrics = {}
    """The key metrics of the pool's best possible order: what is above it, no second stage reaches.
    Not in documents of earlier versions."""


class Unranked(Part):
    """Candidates that are served but that the figures leave out (`split.known_candidates_only`)."""

    candidates: int
    """Their number."""
    stage: Literal["retrieval", "cascade"]
    """The stage whose lists are served."""
    taken: dict[str, Finite]
    """`taken@K`: the share of the first K entries that they take when nobody leaves them out."""


class Funnel(PartWithLength):
    """What each stage of serving keeps."""

    figure_at_length: ClassVar[str] = "ann_overlap"
    length: ClassVar[str] = "index_k"

    index_k: int = Field(exclude=True)
    retrieval_exact: Metrics
    """Metrics of exact search over the full corpus."""
    ann_overlap: Finite | None
    """Mean overlap@k of the index with exact search; null without an index."""
    pool: Pool | None
    """What the second stage scores again; null if nothing ranks after retrieval."""
    unranked: Unranked | None = None
    """What is served but not ranked here; null if every candidate is ranked."""
    cascade: Metrics
    """Metrics of what is served in the end."""


class PairedComparison(Part):
    """A paired test of two systems over the same queries."""

    a: str
    """The first system, a stage of the model."""
    b: str
    """The system it is compared with."""
    metric: str
    """The metric that is compared."""
    difference: Finite
    """Mean of a minus mean of b."""
    ci95: tuple[Finite, Finite]
    """95 % interval of the difference."""
    p: Finite
    """Two-sided p of the randomisation test."""
    p_holm: Finite
    """`p` after Holm's correction over all entries."""
    p_t_test: Finite
    """Two-sided p of the paired t-test, uncorrected."""
    significant: bool
    """Whether `p_holm` is below .05."""
    test: str
    """The test that gave `p`."""


class Verdict(Part):
    """How the model stands against the baselines, each metric after Holm's correction."""

    system: str
    """The model's stage that is judged: `cascade`, or `retrieval` if nothing ranks after it."""
    standing: Standing
    """`behind` if a baseline is significantly better in some metric, `ahead` if the model is
    significantly better than every baseline in every metric, `untested` without a test."""
    against: dict[str, dict[str, Standing]]
    """By baseline and metric: significantly better than it, significantly worse, or level."""
    advice: tuple[str, ...]
    """What to try next; empty if the model is ahead of every baseline."""


class Cloud(Part):
    """The embeddings of one side, or a sample of them."""

    vectors: int
    """Number of vectors that were measured."""
    uniformity: Finite | None
    """Wang & Isola's uniformity; null for a single vector."""
    mean_cosine: Finite | None
    """Mean cosine of different vectors; null for a single vector."""
    effective_rank: Finite
    """Effective rank, 1 to `embedding_dim`."""
    mean_vector_norm: Finite
    """Norm of the mean vector."""


class EmbeddingSpace(PartWithLength):
    """The shape of the two towers' embeddings."""

    figure_at_length: ClassVar[str] = "hubness_skewness"
    length: ClassVar[str] = "hubness_k"

    hubness_k: int = Field(exclude=True)
    embedding_dim: int
    """Width of the embeddings."""
    alignment: Finite | None
    """Mean squared distance of relevant pairs; null without relevant pairs."""
    positive_cosine: Finite | None
    """Mean cosine of relevant pairs; null without relevant pairs."""
    centroid_distance: Finite
    """Distance between the mean query and the mean candidate."""
    hubness_skewness: Finite
    """Skewness of the number of retrieval's lists of k that hold a candidate."""
    ideal_uniformity: Finite
    """Uniformity of points spread evenly over the sphere."""
    queries: Cloud
    """The query side."""
    candidates: Cloud
    """The candidate side."""


class EvaluationDocument(Part):
    """Every system on the test queries of one data set, and how it was measured."""

    dataset: str
    """Name of the feature spec."""
    protocol: Protocol
    """How the figures were made."""
    leakage_check: LeakageCheck
    """Whether training saw what the test asks."""
    systems: dict[str, SystemFigures]
    """Figures by system: `retrieval`, `cascade`, then the baselines."""
    funnel: Funnel
    """What each stage of serving keeps."""
    comparisons: tuple[PairedComparison, ...]
    """The model's stages against each other and against each baseline."""
    verdict: Verdict | None = None
    """How the model stands against the baselines; not in documents of earlier versions."""
    embedding_space: EmbeddingSpace
    """The shape of the two towers' embeddings."""
    timings: dict[str, Finite]
    """Seconds of each stage that recorded them."""
    environment: Environment
    """Where the evaluation ran."""
