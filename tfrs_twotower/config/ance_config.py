"""Section of a run config: rounds of training with mined negatives."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from tfrs_twotower.documents import Document

TeacherKind = Literal["none", "ease", "bm25"]
"""A model that scores mined candidates: `ease` from the history, `bm25` from the texts."""


class AnceConfig(Document):
    """Rounds of training with mined negatives (ANCE: Xiong et al., ICLR 2021).

    Round 0 is the training that the rest of the section describes. Each later round embeds the
    corpus with the towers of the round before, searches it exactly for every training example, and
    goes on training with candidates of these lists as further negatives of the softmax, which get
    no logQ correction. No list holds a known positive of its query. The round that is best on
    validation is kept; without early stopping, the last one.

    With `training.terms.dual` queries are mined as well, for every candidate (DANCE: Li et al.,
    ICTIR 2021).
    """

    rounds: Annotated[int, Field(ge=0, le=100)] = 2
    """Rounds after round 0. 0 leaves the negatives of BM25 alone (DPR), and needs `warm_start`."""
    epochs: PositiveInt = 2
    """Passes over the training examples in each round after round 0, at most: it bounds how old the
    mined lists become."""
    negatives: Annotated[int, Field(ge=1, le=1000)] = 8
    """Mined candidates of an example in one step, drawn anew in each step; with
    `training.terms.dual`, as many mined queries."""
    ranks: tuple[PositiveInt, PositiveInt] = (10, 200)
    """First and last rank that negatives are drawn from, counted from 1 in the list of an example
    without known positives. The first places hold many candidates that nobody has labelled yet."""
    warm_start: Literal["none", "bm25"] = "none"
    """`bm25`: round 0 has mined negatives, too, from lists of BM25, and so do texts that start from
    nothing."""
    teacher: TeacherKind = "none"
    """Model that tells false negatives from hard ones: `ease` from the history, `bm25` from the
    texts."""
    teacher_margin: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    """With a teacher a candidate is dropped whose score is above the positive's minus this share of
    its absolute value."""

    @model_validator(mode="after")
    def _possible(self) -> "AnceConfig":
        first, last = self.ranks
        if last - first + 1 < self.negatives:
            raise ValueError(
                f"ranks: found [{first}, {last}], which are {max(last - first + 1, 0)} ranks, and "
                f"{self.negatives} negatives are drawn from them in each step. Give the first and "
                "the last rank, or lower negatives."
            )
        if self.rounds == 0 and self.warm_start == "none":
            raise ValueError(
                "rounds: found 0 with warm_start: none, so that nothing would be mined. Set rounds "
                "to 1 or more, warm_start: bm25, or training.ance: null."
            )
        return self
