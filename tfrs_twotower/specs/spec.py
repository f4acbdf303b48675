"""The feature spec: what the data is, and how it is split. Reviewed with the data's owners."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, model_validator

from tfrs_twotower.documents import Document, load_yaml, parse
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.specs import declarations, features, tables

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = 0, 1, 2
"""Codes of the splits: positions in `SPLITS`."""
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class _Split(Document):
    new_pairs_only: bool = True
    """Counts a candidate as relevant only if the query has not interacted with it before, and
    leaves seen candidates out of the ranking. With false, repeats count as well."""
    known_queries_only: bool = False
    """Evaluates only queries that have a training interaction; the others are counted."""
    known_candidates_only: bool = False
    """Ranks and counts only candidates that have a training interaction, of any label. Others are
    served nevertheless; the report says how much of the lists they take."""


class TemporalSplit(_Split):
    """Global cut-offs: train before `validation_from`, test from `test_from` on."""

    kind: Literal["temporal"]
    test_fraction: Fraction = 0.1
    """Share of the events, the latest ones, that are test events; unused beside `test_from`. 0
    trains on everything: there is a bundle, and no report."""
    validation_fraction: Fraction = 0.1
    """Share of all events, those just before the test events, that are validation events; 0 has
    none, so training runs to its end."""
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
    """The last events of each query are test events, those just before them validation events.

    Without `interactions.timestamp` the order is that of the records in the files, by file name;
    the report says so.
    """

    kind: Literal["per_query_last"]
    test: NonNegativeInt | Fraction = 1
    """Number (>= 1) or share (< 1) of each query's events, the last ones; 0 is none."""
    validation: NonNegativeInt | Fraction = 1
    """Number or share of each query's events, just before its test events; 0 is none."""


class GivenSplit(_Split):
    """A column of the interactions or of the queries names the split."""

    kind: Literal["given"]
    train: str = "train"
    """The column's value for training records."""
    validation: str = "validation"
    """The column's value for validation records."""
    test: str = "test"
    """The column's value for test records."""


Split = Annotated[TemporalSplit | PerQueryLastSplit | GivenSplit, Field(discriminator="kind")]


class Relevance(Document):
    """Which interactions count as positive."""

    min_label: float | None = None
    """Interactions with a smaller label are not positive; they still count as seen."""
    drop_others: bool = False
    """Drops interactions that are not positive before the split: they count neither as seen, nor
    for histories, nor for `per_query_last`."""

    @model_validator(mode="after")
    def _others_need_a_limit(self) -> "Relevance":
        if self.drop_others and self.min_label is None:
            raise ValueError("drop_others needs min_label: without it every event is positive")
        return self


class FeatureSpec(Document):
    """One data set: three tables, the features of both towers, and the split."""

    name: features.Name
    """Name of the data set."""
    description: str = ""
    """What the data is, in a sentence."""
    licence: str = ""
    """Licence and attribution of the data."""
    interactions: tables.InteractionTable
    """Events between queries and candidates."""
    queries: tables.EntityTable | None = None
    """Query-side features; not needed where a query is only an id and a history."""
    candidates: tables.EntityTable
    """Candidate-side features: the corpus."""
    query: declarations.Side
    """The query tower's inputs."""
    candidate: declarations.Side
    """The candidate tower's inputs."""
    relevance: Relevance = Relevance()
    """Which interactions count as positive."""
    split: Split
    """Train, validation, test."""
    schema_version: Literal[1] = 1
    """Version of this document's form."""

    @model_validator(mode="after")
    def _fits_together(self) -> "FeatureSpec":
        declarations.check_sides(self)
        self._check_times()
        for table in (self.interactions, self.candidates, self.queries):
            if table is not None:
                table.file_format  # noqa: B018  (raises with its own message)
        return self

    @property
    def _has_only_an_order(self) -> str:
        order = self.interactions.timestamp
        return "" if order is None else f" with times, and '{order.column}' has unit: order"

    def _check_times(self) -> None:
        shows_event_time = any(
            isinstance(f, features.TimestampFeature) and f.column is None
            for f in self.query.features
        )
        needs_time = [
            ("split.kind: temporal", isinstance(self.split, TemporalSplit)),
            ("a query timestamp feature without column", shows_event_time),
        ]
        for part, is_used in needs_time:
            if is_used and not self.interactions.has_times:
                raise ValueError(f"{part} needs interactions.timestamp{self._has_only_an_order}")
        if isinstance(self.split, GivenSplit) and not (
            self.interactions.split or (self.queries and self.queries.split)
        ):
            raise ValueError(
                "split.kind: given needs interactions.split or queries.split: "
                "the column that names each record's split"
            )

    @property
    def candidate_id_feature(self) -> features.IdFeature | None:
        """The candidate's id feature, whose table histories are looked up in; None without one."""
        column = self.candidates.id
        for feature in self.candidate.features:
            if isinstance(feature, features.IdFeature) and feature.source == column:
                return feature
        return None

    @property
    def histories(self) -> tuple[features.HistoryFeature, ...]:
        """The query's history features."""
        return declarations.histories_of(self.query)


def taste_features(
    spec: FeatureSpec,
) -> list[features.CategoricalFeature | features.MultiCategoricalFeature]:
    """The candidates' categorical features whose values a vocabulary lists."""
    kinds = features.CategoricalFeature | features.MultiCategoricalFeature
    listed = (one for one in spec.candidate.features if isinstance(one, kinds))
    return [feature for feature in listed if feature.hash_buckets is None]


def load_spec(path: Path) -> FeatureSpec:
    """Reads a feature spec.

    Raises:
        FeatureSpecError: the file is missing, is not YAML, or does not describe a data set.
    """
    return parse(FeatureSpec, load_yaml(path, FeatureSpecError), str(path), FeatureSpecError)
