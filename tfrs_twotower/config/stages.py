"""Sections of a run config for the stages around training."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from tfrs_twotower.documents import Document

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
FEW_BAD_RECORDS = 10
"""So many bad records of a table never fail preprocessing, whatever their share."""


class PreprocessConfig(Document):
    """How tables become examples."""

    max_bad_fraction: Fraction = 0.01
    """Share of quarantined records of a table above which the stage fails, if they are also more
    than 10 (`FEW_BAD_RECORDS`). A table without any usable record always fails."""
    num_shards: PositiveInt = 4
    """Shards of each output; a shard is sorted in a worker's memory (aim at 64 MB or less)."""
    recent_days: PositiveFloat = 28.0
    """Window of recent popularity, counted back from the end of the training window."""
    max_history_events: PositiveInt = 2000
    """Events of one query that are kept in memory for histories: its most recent ones."""


class EmbedConfig(Document):
    """How embeddings are computed."""

    batch_size: PositiveInt = 512
    """Records of one forward pass, at most."""
    num_shards: PositiveInt = 2
    """Parquet shards of each side."""


class IndexConfig(Document):
    """The candidate index."""

    kind: Literal["auto", "brute_force", "scann", "ivf"] = "auto"
    """`brute_force`: exact search. `scann`: ScaNN. `ivf`: partitions in core TensorFlow ops.
    `auto`: exact search below 20,000 candidates or for a `target_overlap` of 1, from there on what
    `server` can load."""
    server: Literal["scann", "stock"] = "scann"
    """Where bundles are served. `scann`: TF Serving with ScaNN's ops, so `auto` takes ScaNN.
    `stock`: TF Serving as it is published, so `auto` takes ivf."""
    vectors: Literal["float32", "int8"] = "float32"
    """How `brute_force` stores candidates; `int8` takes a quarter of the memory, and its overlap
    is measured."""
    k: PositiveInt = 100
    """List length at which overlap is measured."""
    target_overlap: Fraction = 0.98
    """Least mean overlap@k with exact search on real query embeddings; the stage fails below it."""
    num_leaves: PositiveInt | None = None
    """Partitions of the tree; by default from the corpus size (for ScaNN none below 100,000).
    ivf cuts the large ones again."""
    num_leaves_to_search: PositiveInt | None = None
    """Partitions searched; by default the smallest that reaches the target."""
    num_reordering_candidates: PositiveInt | None = None
    """Candidates that ScaNN scores exactly at the end; by default from k."""
    anisotropic_quantization_threshold: float = 0.2
    """Guo et al. 2020; 0.2 is ScaNN's value for unit vectors."""
    num_measured_queries: PositiveInt = 2000
    """Query embeddings that overlap is measured on, at most."""


class BundleConfig(Document):
    """One bundle that `export` writes."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """Directory under `bundle/`, and the model's name in TF Serving."""
    index: Literal["built", "brute_force"] = "built"
    """`built`: the index of the build-index stage. `brute_force`: exact search in core ops, which
    a stock TF Serving loads."""


class GateConfig(Document):
    """How much worse than the served version a new one may be.

    Falls are relative, so .05 allows recall to go from .400 to .380; `null` switches one off.
    """

    max_recall_drop: Fraction | None = 0.05
    """Fall of recall@k of the cascade on validation queries."""
    max_overlap_drop: Fraction | None = 0.02
    """Fall of overlap@k of candidate generation with exact search."""
    max_coverage_drop: Fraction | None = 0.2
    """Fall of coverage@k of the cascade (the share of the corpus that is in any answer), and of
    retrieval_coverage@k, which a refresh measures too."""


class ExportConfig(Document):
    """What is exported for TF Serving."""

    bundles: tuple[BundleConfig, ...] = ()
    """By default one bundle called after the run."""
    k: PositiveInt = 100
    """Candidates that a request returns."""
    max_excluded: NonNegativeInt = 200
    """How many excluded candidates are sure not to shorten the answer."""
    allowed_batch_sizes: tuple[PositiveInt, ...] = (1, 8, 64)
    """Batch sizes of the server; warm-up requests are written for each."""
    keep_versions: PositiveInt = 3
    """Older versions are removed."""
    candidate_heads: Literal["float32", "float16", "int8"] = "float32"
    """How the pre-ranker's candidate heads are kept: float16 takes half of the memory, int8 a
    quarter, each with a scale for every head."""
    restricts: tuple[str, ...] = ()
    """Candidate features of kind id, categorical or multi_categorical by which a request may
    restrict its answer: `allow` and `deny` take tokens such as `genres=Comedy`."""
    gate: GateConfig = GateConfig()
    """What a version must not lose to be published."""
    shards: PositiveInt = 1
    """Bundles that the corpus is split into, each with the same towers; a client asks all of them
    and merges. More than one are called NAME-shard-00000-of-00002 and so on."""


class EvaluateConfig(Document):
    """The offline evaluation."""

    ks: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (10, 20, 100)
    """List lengths."""
    baselines: (
        tuple[Literal["popularity", "recent_popularity", "item_knn", "ease", "bm25", "hybrid"], ...]
        | None
    ) = None
    """By default all that the data allows."""
    ease_lambda: PositiveFloat | Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        100.0,
        200.0,
        400.0,
        800.0,
    )
    """L2 weight of EASE (Steck 2019): one value, or several to choose from on validation (the
    middle one where there are no validation queries). Each value inverts a matrix."""
    ease_max_candidates: PositiveInt = 20_000
    """EASE inverts a matrix of this order, at most; larger corpora leave it out and say so."""
    item_knn_neighbours: PositiveInt | Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (
        10,
        20,
        50,
        100,
        500,
    )
    """Neighbours kept for each candidate: one value, or several to choose from on validation."""
    bm25_k1: PositiveFloat = 1.2
    """Term saturation."""
    bm25_b: Fraction = 0.75
    """Length normalisation."""
    num_bootstrap: PositiveInt = 2000
    """Resamples of the confidence intervals."""
    num_example_queries: NonNegativeInt = 10
    """Queries that the report shows in words."""
