"""Pre-ranking section of a run config: mining what retrieval returns, and re-scoring it."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from tfrs_twotower.config.model import IntTowerConfig
from tfrs_twotower.config.training import EarlyStoppingConfig, FittingConfig, SoftmaxConfig
from tfrs_twotower.documents import Document


class MiningConfig(Document):
    """What `mine` keeps of the retrieval stage's answers to the training examples."""

    depth: PositiveInt = 50
    """First so many retrieved candidates of each example, known positives of the query left
    out."""
    teacher: Literal["none", "ease", "bm25"] = "none"
    """Scores the lists for distillation: `ease` from the history, `bm25` from the texts."""
    ease_lambda: PositiveFloat = 200.0
    """L2 weight of EASE."""


class ListTermsConfig(Document):
    """Weights of the terms over [positive, mined negatives]; 0 leaves one out."""

    list_softmax: NonNegativeFloat = 1.0
    """Softmax of the interaction score over the list."""
    pointwise: NonNegativeFloat = 0.0
    """Binary cross entropy of the positive (1) and the mined, un-exposed negatives (0)."""
    listwise_kl: NonNegativeFloat = 0.0
    """KL divergence from the teacher's softmax over the list."""
    margin_mse: NonNegativeFloat = 0.0
    """Squared difference between the teacher's margins and the model's (Hofstaetter et al.)."""
    teacher_temperature: PositiveFloat = 1.0
    """Divisor of the teacher's scores in both."""


class EaseMemberConfig(Document):
    """EASE (Steck 2019) of the query's history as a member that is computed, not trained.

    Cut to a low rank, so that it is an inner product of a query's and a candidate's vector.
    """

    rank: PositiveInt = 128
    """Dimension of the vectors."""
    l2: PositiveFloat = 200.0
    """L2 weight of EASE."""
    half_lives: Annotated[tuple[PositiveFloat | None, ...], Field(min_length=1, max_length=16)] = (
        None,
        8.0,
    )
    """One score for each: an event of the history counts half as much as one so many events more
    recent; null: all count alike. Where a candidate stands repeatedly, its latest event counts."""
    max_candidates: PositiveInt = 20_000
    """A larger corpus is refused: EASE inverts a matrix of this order."""


class PreRankingConfig(FittingConfig):
    """A second stage, of one IntTower or several, that re-scores what retrieval returns.

    They learn from the retrieval stage's own answers as well as from the interactions, so that
    they are trained on what they will see. Their scores join the retrieval score and a few numbers
    about the candidate in one weighted sum, whose weights are fitted on validation queries.
    """

    num_candidates: PositiveInt = 200
    """Retrieved candidates that are re-scored for a request."""
    models: Annotated[tuple[IntTowerConfig, ...], Field(max_length=16)] = (
        IntTowerConfig(kind="inttower"),
    )
    """The towers of each member, trained one after the other. Members that differ (in what they
    look at, such as history_half_life) bring more than a larger one. May be empty beside ease."""
    ease: EaseMemberConfig | None = None
    """A further member, in closed form; needs a history and an id that is not hashed."""
    mining: MiningConfig = MiningConfig()
    """Where the negatives come from."""
    list_size: Annotated[int, Field(ge=1, le=1000)] = 8
    """Mined negatives of an example in one step, drawn anew each time."""
    list_terms: ListTermsConfig = ListTermsConfig()
    """What is learned from the lists."""
    popularity_days: tuple[PositiveFloat | None, ...] = (None, 30.0, 7.0)
    """Numbers about the candidate that join the sum: log(1 + its positive interactions in the last
    so many days of the training window); null: in all of it."""
    batch_size: Annotated[int, Field(ge=2)] = 512
    """Examples of one step, each with its list."""
    epochs: PositiveInt | None = 5
    """Passes over the training examples, at most. Exclusive with max_steps."""
    softmax: SoftmaxConfig = SoftmaxConfig()
    """The retrieval head's objective, which is trained beside."""
    early_stopping: EarlyStoppingConfig | None = EarlyStoppingConfig(metric="ndcg@10")
    """Measures the whole cascade."""
