"""Pre-ranking section of a run config: mining retrieved candidates, and re-scoring them."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from tfrs_twotower.config import ance_config, model_config, training_config
from tfrs_twotower.documents import Document


class MiningConfig(Document):
    """Which retrieved candidates `mine` keeps for each training example."""

    depth: PositiveInt = 50
    """Retrieved candidates that are kept for each example, after the query's known positives are
    left out."""
    teacher: ance_config.TeacherKind = "none"
    """Model that scores the lists for distillation: `ease` from the history, `bm25` from the
    texts."""
    ease_lambda: PositiveFloat = 200.0
    """L2 weight of EASE."""


class ListTermsConfig(Document):
    """Weights of the terms over [positive, mined negatives]; a weight of 0 leaves a term out."""

    list_softmax: NonNegativeFloat = 1.0
    """Softmax of the interaction score over the list."""
    pointwise: NonNegativeFloat = 0.0
    """Binary cross entropy of the positive (label 1) and the mined negatives (label 0)."""
    listwise_kl: NonNegativeFloat = 0.0
    """KL divergence from the teacher's softmax over the list."""
    margin_mse: NonNegativeFloat = 0.0
    """Squared difference between the teacher's margins and the model's (Hofstaetter et al.)."""
    teacher_temperature: PositiveFloat = 1.0
    """Divisor of the teacher's scores in both distillation terms."""


class EaseMemberConfig(model_config.LinearModelConfig):
    """A member in closed form: EASE (Steck 2019) or RDLAE (Moon et al. 2023) on the history.

    The model's matrix is cut to a low rank, so that the score is an inner product of a query vector
    and a candidate vector.
    """

    kind: Literal["ease", "rdlae", "truncated"] = "ease"
    """RDLAE is EASE with dropout and a diagonal of at most `diagonal`; `truncated` is EASE on the
    leading singular directions of the interactions, for corpora that are too large to invert."""
    rank: PositiveInt = 128
    """Dimension of the vectors."""


class ItemKnnMemberConfig(Document):
    """A member in closed form: the neighbours of the history's latest candidates (item kNN).

    Candidates are neighbours by the cosine of who chose them (Sarwar et al. 2001).
    """

    pairs: Literal["together", "next"] = "together"
    """`together`: how many queries chose both candidates, in whatever order. `next`: how often the
    one was chosen soon after the other, which counts half as much for each choice between them;
    for sequences, where what comes next depends on what came last."""
    events: Literal["positive", "all"] = "positive"
    """Which events `together` counts. `all`: those whose label is below `relevance.min_label`,
    too."""
    neighbours: PositiveInt = 100
    """Neighbours of a candidate that are kept, the nearest ones."""
    shrink: NonNegativeFloat = 0.0
    """Added to the divisor of the cosine: draws neighbours that few have chosen towards 0."""
    last: Annotated[int, Field(ge=1, le=1000)] = 10
    """Latest candidates of the history that are looked at; of repeats the latest counts."""
    half_lives: Annotated[tuple[PositiveFloat | None, ...], Field(min_length=1, max_length=16)] = (
        None,
        2.0,
    )
    """Half-lives in candidates, one score for each: a candidate counts half as much as one that is
    this many candidates more recent; with null all count alike."""


class Bm25MemberConfig(Document):
    """A member in closed form: BM25 of the candidate's texts, as in Lucene (Robertson).

    The query's terms are those of its texts. A query side without text features, but with a
    history, takes the terms of the history's latest candidates.
    """

    k1: PositiveFloat = 1.2
    """Saturation of a term's count."""
    b: Annotated[float, Field(ge=0.0, le=1.0)] = 0.75
    """Normalisation by the length of the text; 0 is none."""
    history_length: PositiveInt = 5
    """Latest candidates of a history whose terms are taken where the query side has no text."""
    history_terms: PositiveInt = 8
    """Terms of each such candidate: those that weigh most in its text."""


class TasteMemberConfig(Document):
    """A member in closed form: how much more often a query's history has a candidate's values.

    For each categorical feature of the candidates and, with `words`, each text, the score is the
    mean over the candidate's values v of log( (n_v + s p_v) / ((n + s) p_v) ), with n_v of the n
    candidates in the history that have the value, the share p_v of the training examples whose
    candidates have it, and the strength s of that prior (Dirichlet smoothing).
    """

    strength: PositiveFloat = 5.0
    """s: number of events from which a history says as much as all queries together."""
    max_values: Annotated[int, Field(ge=2, le=100_000)] = 10_000
    """Features with more values than this are left out: a request counts all values once."""
    words: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Words of each text feature of the candidates that count as values, those that most candidates
    have (stems, as in BM25, of two candidates at least). 0 leaves texts out."""


MemberConfig = Annotated[
    model_config.IntTowerConfig | model_config.MolConfig | model_config.ColbertConfig,
    Field(discriminator="kind"),
]
"""The towers of a trained member."""


class PreRankingConfig(training_config.FittingConfig):
    """A second stage, of one member or several, that re-scores retrieved candidates.

    Its members learn from the candidates that retrieval returns as well as from the interactions,
    so that training shows them what serving will. Their scores, the retrieval score and a few
    signals of the candidate are joined in one weighted sum, whose weights are fitted on validation
    queries.
    """

    num_candidates: PositiveInt = 200
    """Retrieved candidates that are re-scored for each request."""
    models: Annotated[tuple[MemberConfig, ...], Field(max_length=16)] = (
        model_config.IntTowerConfig(kind="inttower"),
    )
    """The towers of each member, trained one after the other. Members that differ, for example in
    history_half_life, help more than one larger member. May be empty if there is a member in closed
    form."""
    ease: EaseMemberConfig | None = None
    """A further member in closed form; needs a history and an id that is not hashed."""
    tastes: TasteMemberConfig | None = None
    """A further member in closed form; needs the same, and candidates with categorical features
    that are not hashed, or with text for `tastes.words`."""
    item_knn: ItemKnnMemberConfig | None = None
    """A further member in closed form; needs a history and an id that is not hashed."""
    bm25: Bm25MemberConfig | None = None
    """A further member in closed form; needs candidates with text, and queries with text or a
    history."""
    mining: MiningConfig = MiningConfig()
    """How negatives are mined."""
    list_size: Annotated[int, Field(ge=1, le=1000)] = 8
    """Mined negatives of an example in one step, drawn anew in each step."""
    list_terms: ListTermsConfig = ListTermsConfig()
    """Terms of the objective over the mined lists."""
    popularity_days: tuple[PositiveFloat | None, ...] = (None, 30.0, 7.0)
    """Windows in days, one signal for each: log(1 + the candidate's positive interactions in so
    many last days of the training window); null is the whole window."""
    batch_size: Annotated[int, Field(ge=2)] = 512
    """Examples of one step, each with its list of negatives."""
    epochs: PositiveInt | None = 5
    """Largest number of passes over the training examples. Excludes max_steps."""
    softmax: training_config.SoftmaxConfig = training_config.SoftmaxConfig()
    """Objective of the retrieval head, which is trained at the same time."""
    early_stopping: training_config.EarlyStoppingConfig | None = (
        training_config.EarlyStoppingConfig(metric="ndcg@10")
    )
    """When to stop; the metric is measured on the whole cascade."""
