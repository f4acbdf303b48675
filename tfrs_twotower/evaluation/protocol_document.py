"""The part of `evaluation.json` that says how its figures were made."""

from typing import Literal

from pydantic import Field

from tfrs_twotower.evaluation.written_documents import Part


class Window(Part):
    """The limits of the splits in seconds since 1970; null without times."""

    test_end: int | float | None
    """Latest test interaction."""
    train_end: int | float | None
    """Latest training interaction."""
    train_start: int | float | None
    """Earliest training interaction."""
    validation_end: int | float | None
    """Latest validation interaction."""


class BaselineSettings(Part):
    """Settings of one baseline; it has only the keys that apply to it.

    A tuned baseline names the setting of the first key metric here, and that of each metric in
    `chosen_for`.
    """

    neighbours: int | None = None
    """Neighbours kept for each candidate (item_knn)."""
    penalty: float | None = Field(
        default=None, validation_alias="lambda", serialization_alias="lambda"
    )
    """L2 weight (ease, rdlae, recent_ease)."""
    dropout: float | None = None
    """Probability with which a candidate of the profile is dropped (rdlae)."""
    diagonal: float | None = None
    """Largest weight of a candidate for itself (rdlae)."""
    half_life: float | None = None
    """Later candidates after which the weight of one in the profile is halved (recent_ease)."""
    factors: int | None = None
    """Length of the vectors (ials)."""
    regularization: float | None = None
    """L2 weight (ials)."""
    alpha: float | None = None
    """Weight of a chosen pair; one that was not chosen weighs 1 (ials)."""
    interactions: Literal["positive", "all"] | None = None
    """The interactions that it learned from."""
    counts: Literal["queries", "events"] | None = None
    """Whether queries or events are counted (popularity)."""
    days: float | None = None
    """Length of the window (recent_popularity)."""
    k1: float | None = None
    """Term saturation (BM25)."""
    b: float | None = None
    """Length normalisation (BM25)."""
    analyser: str | None = None
    """How texts become terms (BM25)."""
    retrieval_weight: float | None = None
    """Weight of the retrieval score (hybrid); BM25 has the rest."""
    chosen_from: tuple[int | float, ...] | None = None
    """Values that were tried on validation, where one is tuned."""
    chosen_for: dict[str, dict[str, int | float | str]] | None = None
    """The setting of each metric, the one that is best in it on validation."""
    search: str | None = None
    """How the settings were searched, and whether the search came to its end."""
    validation: tuple[dict[str, int | float | str], ...] | None = None
    """What each choice reached on validation: the choice, then its metrics."""


class Protocol(Part):
    """How the figures were made, so that a reader can judge and repeat them."""

    ks: tuple[int, ...]
    """List lengths, ascending."""
    judged_on: str
    """Hash of corpus, queries, truth and exclusions: equal if figures can be compared."""
    split: Literal["temporal", "per_query_last", "given"]
    """How interactions were split."""
    earlier: str = "earlier in time"
    """What makes an interaction earlier than another one, for the split and for histories."""
    window: Window | None
    """Limits of the splits; null if preprocessing wrote none."""
    interactions: dict[str, int]
    """Interactions of each split."""
    test_queries: int
    """Queries that are reported."""
    sampled_from: int | None = None
    """Test queries that these were drawn from (`evaluate.max_queries`, `evaluate.max_scores`);
    null if they are all."""
    validation_queries: int
    """Queries that baselines are tuned on."""
    empty_queries: dict[str, int] | None
    """Queries of each split that have nothing relevant; they are left out."""
    candidates: int
    """Candidates in the corpus."""
    ranked_candidates: int
    """Candidates that may be ranked."""
    relevant_pairs: int
    """Relevant pairs of the test."""
    ranking: str
    """What is ranked, and how ties are broken."""
    seen_candidates: str
    """Whether earlier candidates of a query may be ranked."""
    known_queries_only: bool
    """Whether only queries with a training interaction are evaluated."""
    known_candidates_only: bool
    """Whether only candidates with a training interaction (of any label) are counted and ranked."""
    average: str
    """What the means are over."""
    recall: str
    """Definition of recall."""
    ndcg: str
    """Definition of nDCG."""
    intervals: str
    """How intervals are made."""
    significance: str
    """How systems are tested against each other."""
    coverage_interval: str
    """Why coverage has no width."""
    baselines_learn_from: str
    """Which interactions the baselines saw."""
    baselines_tuned: str | None = None
    """How the settings of the baselines were chosen."""
    baselines: dict[str, BaselineSettings]
    """Settings of each baseline."""
    left_out: dict[str, str]
    """Baselines that could not be computed or cost too much, with the reason."""
    retrieval: str = "inner product of the towers' vectors, all candidates"
    """What the first stage scores by."""
    cascade: str
    """What the cascade is."""
    cross_encoder: str | None = None
    """What the system `cross_encoder` ranks, and by what; null without it."""
    seed: int
    """Seed of the resamples."""
