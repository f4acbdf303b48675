"""How interactions are divided into train, validation and test."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tfrs_twotower.documents import Document

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class _Split(Document):
    new_pairs_only: bool = True
    """Only pairs that the query had not before count as relevant, and seen candidates are left out
    of the ranking. False: repeats count."""
    known_queries_only: bool = False
    """Evaluates only queries that have a training interaction (others are counted)."""
    known_candidates_only: bool = False
    """Ranks and counts only candidates that have a training interaction."""


class TemporalSplit(_Split):
    """Global cut-offs: train before `validation_from`, test from `test_from` on."""

    kind: Literal["temporal"]
    test_fraction: Fraction = 0.1
    """Share of the events, the latest, that are test (if no `test_from`)."""
    validation_fraction: Fraction = 0.1
    """Share of all events, just before the test events, that are validation."""
    validation_from: str | None = None
    """ISO 8601 time instead of `validation_fraction`."""
    test_from: str | None = None
    """ISO 8601 time instead of `test_fraction`."""

    @model_validator(mode="after")
    def _both_or_none(self) -> "TemporalSplit":
        if (self.validation_from is None) != (self.test_from is None):
            raise ValueError("validation_from and test_from go together")
        return self


class PerQueryLastSplit(_Split):
    """Each query's last events are test, those before them validation."""

    kind: Literal["per_query_last"]
    test: Annotated[int, Field(ge=1)] | Fraction = 1
    """Number (>= 1) or share (< 1) of each query's events."""
    validation: Annotated[int, Field(ge=1)] | Fraction = 1
    """Number or share of each query's events, just before its test events."""


class GivenSplit(_Split):
    """A column of the interactions or of the queries says the split."""

    kind: Literal["given"]
    train: str = "train"
    """The column's value for training records."""
    validation: str = "validation"
    """The column's value for validation records."""
    test: str = "test"
    """The column's value for test records."""


Split = Annotated[TemporalSplit | PerQueryLastSplit | GivenSplit, Field(discriminator="kind")]
