"""Linear models of the history, and the part of the model section that puts one beside towers."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tfrs_twotower.documents import Document

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


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
