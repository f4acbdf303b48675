"""Sections of a run config for the stages around training."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from tfrs_twotower.documents import Document

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_FEWEST_MEASURED = 500
_MEASURED_SCORES = 1_000_000_000
FEW_BAD_RECORDS = 10
"""This many bad records of a table do not fail preprocessing, unless they are more than a tenth
(and more than one)."""


class PreprocessConfig(Document):
    """How tables become examples."""

    max_bad_fraction: Fraction = 0.01
    """Largest share of quarantined records in a table, and of bad cells in a column. The stage
    fails above it, if these are also more than 10 (`FEW_BAD_RECORDS`) or more than a tenth. A table
    without a usable record and a column without a usable cell always fail."""
    num_shards: PositiveInt = 4
    """Least number of shards of each output; there is one for each million records of the largest
    table where that is more. A worker sorts a shard in memory."""
    recent_days: PositiveFloat = 28.0
    """Window of recent popularity, counted back from the end of the training window."""
    max_history_events: PositiveInt = 2000
    """Events of one query, the most recent ones, that are kept in memory for histories."""

    def tolerates(self, bad: int, total: int) -> bool:
        """Whether so many bad records of a table, or bad cells of a column, may be left out."""
        few = min(FEW_BAD_RECORDS, max(total // 10, 1))
        return bad <= max(few, self.max_bad_fraction * total) and not 0 < bad == total


class DailyConfig(Document):
    """How `twotower run --since` trains: from the model before, on what is new and a sample."""

    epochs: PositiveFloat = 2.0
    """Passes over the new examples and the sample of others."""
    replay: NonNegativeFloat = 4.0
    """Number of examples, for each new one, that the model before has learned and that are learned
    again, so that they are not forgotten."""
    freeze_candidate_tower: bool = False
    """Leaves the candidate tower as it is, with the tables that histories share with it, so that
    only new and changed candidates are embedded. New ids then count as unknown until a full
    training."""


class EmbedConfig(Document):
    """How the corpus and the evaluated queries are embedded."""

    batch_size: PositiveInt = 512
    """Largest number of records in one forward pass."""
    num_shards: PositiveInt = 2
    """Parquet shards of each side."""
    width: PositiveInt | None = None
    """Number of first entries of each vector that are kept and L2-normalised, one of
    `training.terms.matryoshka.widths`: index, pre-ranker, bundle and evaluation then have these
    narrower vectors, and nothing is trained again. null keeps all. After a refit without a
    pre-ranker the export's gate still compares the recall of whole vectors."""


class LexicalConfig(Document):
    """BM25 inside an index of kind `lexical` or `hybrid`."""

    k1: PositiveFloat = 1.2
    """Saturation of a term's count."""
    b: Fraction = 0.75
    """Normalisation by the length of the text."""
    question_weight: Fraction = 0.0
    """Training questions are appended to the texts of the candidates that answer them, and each of
    their words counts as this much of a word; 0 appends none."""
    feedback: bool = False
    """Whether the words of a query's first five passages are asked, too (pseudo relevance
    feedback), which finds relevant passages that say it in other words. How much they count is
    chosen on training and validation queries; where they do not help, nothing."""


class IndexConfig(Document):
    """The candidate index."""

    kind: Literal["auto", "brute_force", "scann", "ivf", "lexical", "hybrid"] = "auto"
    """`brute_force`: exact search. `scann`: ScaNN. `ivf`: partitions in core TensorFlow ops.
    `auto`: exact search below 20,000 candidates or for a `target_overlap` of 1, otherwise the kind
    that `server` can load. `lexical`: BM25 over the texts, in core TensorFlow ops. `hybrid`: the
    candidates of BM25 and of the towers (by the kind that `auto` takes), ordered by a weighted
    sum of both scores; the weight is chosen on validation queries for ndcg@10."""
    lexical: LexicalConfig = LexicalConfig()
    """Settings of BM25 for the kinds `lexical` and `hybrid`; others do not read them."""
    server: Literal["scann", "stock"] = "scann"
    """The server that loads the bundles. `scann`: TF Serving with ScaNN's ops, so `auto` takes
    ScaNN. `stock`: TF Serving as it is published, so `auto` takes ivf."""
    vectors: Literal["float32", "int8"] = "float32"
    """How `brute_force` stores candidates; `int8` takes a quarter of the memory. Its overlap with
    float32 is measured."""
    k: PositiveInt = 100
    """List length at which overlap is measured."""
    target_overlap: Fraction = 0.98
    """Smallest mean overlap@k with exact search, on real and on perturbed queries; the stage fails
    below it. Answers that tie with the last exact one count as found."""
    num_leaves: PositiveInt | None = None
    """Partitions of the tree; by default from the corpus size (for ScaNN none below 100,000).
    ivf splits large partitions again."""
    num_leaves_to_search: PositiveInt | None = None
    """Partitions searched; by default the smallest that reaches the target."""
    num_reordering_candidates: PositiveInt | None = None
    """Candidates that ScaNN scores exactly at the end; by default from k."""
    anisotropic_quantization_threshold: float = 0.2
    """Guo et al. 2020; 0.2 is ScaNN's value for unit vectors. It is multiplied by the vectors' root
    mean square length."""
    num_measured_queries: PositiveInt = 2000
    """Largest number of queries, real ones and as many perturbed ones, that overlap is measured
    on; half as many on a million candidates, and 500 on more than two million."""

    def most_measured(self, num_candidates: int) -> int:
        """The largest number of queries of each kind that a corpus of this size is measured on.

        Queries times candidates stay below a billion, down to 500 queries.
        """
        affordable = max(_FEWEST_MEASURED, _MEASURED_SCORES // max(num_candidates, 1))
        return min(self.num_measured_queries, affordable)


class BundleConfig(Document):
    """One bundle that `export` writes."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """Directory under `bundle/`, and the model's name in TF Serving."""
    index: Literal["built", "brute_force"] = "built"
    """`built`: the index of the build-index stage. `brute_force`: exact search in core ops, which
    a stock TF Serving loads."""


class GateConfig(Document):
    """How much worse, smaller or larger than the served version a new version may be.

    Drops are relative: 0.05 allows recall to fall from 0.400 to 0.380. `null` switches a check off.
    """

    max_shrink: Fraction | None = 0.2
    """Share of the candidates that may be gone: 0.2 allows 1,000 to become 800."""
    max_growth: NonNegativeFloat | None = 1.0
    """Candidates that may be added, as a share of those of the served version: 1 allows 1,000 to
    become 2,000. All ids in another form, beside the old ones, would be such a growth."""
    allow_smaller_k: bool = False
    """Whether lists may become shorter; clients may ask for as many as the served version gives."""

    max_recall_drop: Fraction | None = 0.05
    """Drop of recall@k on validation queries: of the saved model, or of the first fit if the saved
    model has learned them."""
    max_overlap_drop: Fraction | None = 0.02
    """Drop of candidate generation's overlap@k with exact search, on real and on perturbed
    queries."""
    max_coverage_drop: Fraction | None = 0.2
    """Drop of the cascade's coverage@k (the share of the corpus that is in any answer), and of
    retrieval_coverage@k, which a refresh measures too. It counts as a share of the smaller of both
    corpora, so that new candidates that are in no answer yet do not lower it."""


class ExportConfig(Document):
    """What is exported for TF Serving."""

    bundles: tuple[BundleConfig, ...] = ()
    """Bundles to write; by default one that is named after the run."""
    k: PositiveInt = 100
    """Candidates that a request returns."""
    max_excluded: NonNegativeInt = 200
    """Number of excluded candidates up to which an answer keeps its length."""
    allowed_batch_sizes: tuple[PositiveInt, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Batch sizes that a server fills batches up to; a bundle has warm-up requests for each. With
    powers of two, less than half of a batch is filling."""
    keep_versions: PositiveInt = 3
    """Versions that are kept; export removes older ones."""
    candidate_heads: Literal["float32", "float16", "int8"] = "float32"
    """How the pre-ranker's candidate heads are stored: float16 takes half of the memory, int8 a
    quarter, both with a scale for each head."""
    fused_ops: bool = False
    """Whether the second stage, and a search of kind ivf, are one operation each of the project's
    own, which `twotower build-ops` compiles, and which the server needs too. Heads are
    float32 or int8 then."""
    restricts: tuple[str, ...] = ()
    """Candidate features of kind id, categorical or multi_categorical by which a request may
    restrict its answer: `allow` and `deny` take tokens such as `genres=Comedy`."""
    gate: GateConfig = GateConfig()
    """How far a version may fall behind the served one and still be published."""
    refreshed: Literal["refuse", "keep", "drop"] = "refuse"
    """What becomes of candidates that `twotower refresh` added, changed or withdrew in the served
    version, where the tables of this run have them as before. `refuse` publishes nothing and counts
    them; `keep` refreshes the new version with them; `drop` lets the tables win."""
    shards: PositiveInt = 1
    """Bundles that the corpus is split into, all with the same towers; a client queries all of them
    and merges the answers. Several are named NAME-shard-00000-of-00002 and so on. An index of kind
    hybrid, or with feedback, has none."""


class EvaluateConfig(Document):
    """The offline evaluation."""

    ks: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (10, 20, 100)
    """List lengths at which metrics are computed."""
    baselines: (
        tuple[
            Literal[
                "popularity",
                "recent_popularity",
                "item_knn",
                "ease",
                "rdlae",
                "recent_ease",
                "ials",
                "bm25",
                "hybrid",
            ],
            ...,
        ]
        | None
    ) = None
    """Baselines to compare with; by default all that the data allows, without those whose cost,
    estimated from counts, is too high. Each is tuned on validation for every metric by itself."""
    max_queries: PositiveInt | None = 20_000
    """Largest number of test queries; a fixed sample is drawn from more, and the report says so.
    `null` takes all."""
    max_scores: PositiveInt | None = 2_000_000_000
    """Largest number of test queries times candidates, which bounds the time of an evaluation: of a
    million candidates 2,000 queries are ranked for. 1,000 queries are ranked for in any case.
    `null` sets no limit."""
    ease_lambda: PositiveFloat | Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        100.0,
        200.0,
        400.0,
        800.0,
    )
    """L2 weight of EASE (Steck 2019), RDLAE and the recency-weighted EASE: one value that stays, or
    several from which a search on validation starts (the middle one where there are no validation
    queries). Each value inverts a matrix."""
    ease_max_candidates: PositiveInt = 20_000
    """Largest order of the matrix that EASE and its kin invert: that of the candidates, or of the
    queries if they are fewer. The report names what is left out. As a teacher EASE inverts that of
    the candidates."""
    item_knn_neighbours: PositiveInt | Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (
        10,
        20,
        50,
        100,
        500,
    )
    """Neighbours kept for each candidate: one value that stays, or several from which a search on
    validation starts."""
    bm25_k1: PositiveFloat = 1.2
    """Term saturation."""
    bm25_b: Fraction = 0.75
    """Length normalisation."""
    num_bootstrap: PositiveInt = 2000
    """Resamples of the confidence intervals."""
    num_example_queries: NonNegativeInt = 10
    """Queries that the report shows in words."""
