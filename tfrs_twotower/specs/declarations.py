"""The features of both towers, without the tables that they are read from.

A `FeatureSpec` declares them together with tables, relevance and split. `TowerFeatures` declares
nothing else, for towers that are built and trained in Python.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Protocol

from pydantic import Field, model_validator

from tfrs_twotower.documents import Document
from tfrs_twotower.specs import features as kinds

RESERVED_NAMES = frozenset({"exclude_ids", "candidate_ids", "examples", "allow", "deny"})


class Side(Document):
    """The features of one tower."""

    features: Annotated[tuple[kinds.Feature, ...], Field(min_length=1)]
    """Inputs of the tower, in any order."""


class FeatureDeclarations(Protocol):
    """The features that towers are built from: a `FeatureSpec`, or `TowerFeatures`."""

    @property
    def query(self) -> Side:
        """The query tower's inputs."""

    @property
    def candidate(self) -> Side:
        """The candidate tower's inputs."""

    @property
    def candidate_id_feature(self) -> kinds.IdFeature | None:
        """The candidate's id feature, which histories are looked up with; None without ids."""

    @property
    def histories(self) -> tuple[kinds.HistoryFeature, ...]:
        """The query's history features."""


class TowerFeatures(Document):
    """The features of two towers, without the tables they come from."""

    query: Side
    """The query tower's inputs."""
    candidate: Side
    """The candidate tower's inputs."""
    candidate_id: kinds.Name | None = None
    """Name of the id feature that is the candidate's identity, which histories are looked up with;
    by default the only id feature of the candidate."""

    @model_validator(mode="after")
    def _fits_together(self) -> "TowerFeatures":
        ids = self._candidate_ids
        if self.candidate_id is not None and self.candidate_id not in ids:
            raise ValueError(
                f"candidate_id is '{self.candidate_id}', which is not an id feature of the "
                f"candidate; its id features are: {', '.join(ids) or 'none'}"
            )
        check_sides(self)
        return self

    @property
    def _candidate_ids(self) -> dict[str, kinds.IdFeature]:
        return {f.name: f for f in self.candidate.features if isinstance(f, kinds.IdFeature)}

    @property
    def candidate_id_feature(self) -> kinds.IdFeature | None:
        """The candidate's id feature; None without one, or without a choice among several."""
        ids = self._candidate_ids
        if self.candidate_id is not None:
            return ids[self.candidate_id]
        return next(iter(ids.values())) if len(ids) == 1 else None

    @property
    def histories(self) -> tuple[kinds.HistoryFeature, ...]:
        """The query's history features."""
        return histories_of(self.query)


def declare_features(
    query: Sequence[kinds.Feature],
    candidate: Sequence[kinds.Feature],
    *,
    candidate_id: str | None = None,
) -> TowerFeatures:
    """Declares the features of two towers.

    Args:
        query: inputs of the query tower.
        candidate: inputs of the candidate tower.
        candidate_id: name of the id feature that histories are looked up with; by default the
            candidate's only one.

    Raises:
        ValueError: a name occurs twice or is reserved, or the features do not fit together.
    """
    return TowerFeatures(
        query=Side(features=tuple(query)),
        candidate=Side(features=tuple(candidate)),
        candidate_id=candidate_id,
    )


def histories_of(query: Side) -> tuple[kinds.HistoryFeature, ...]:
    """The history features of the query side."""
    return tuple(f for f in query.features if isinstance(f, kinds.HistoryFeature))


def check_sides(declared: FeatureDeclarations) -> None:
    """Checks what both sides must fulfil, wherever they are declared.

    Raises:
        ValueError: a name occurs twice or is reserved, a history has nothing to be looked up in,
            or features of one vocabulary disagree about it.
    """
    for side_name, side in (("query", declared.query), ("candidate", declared.candidate)):
        names = Counter(feature.name for feature in side.features)
        for name, count in names.items():
            if count > 1:
                raise ValueError(f"{side_name}.features: '{name}' is declared {count} times")
            if name in RESERVED_NAMES:
                raise ValueError(f"{side_name}.features: '{name}' is a reserved input name")
    if any(isinstance(f, kinds.HistoryFeature) for f in declared.candidate.features):
        raise ValueError("candidate.features: a history belongs to the query side")
    if declared.histories and declared.candidate_id_feature is None:
        raise ValueError(
            "query.features: a history is looked up in the candidate's id table; "
            "add a feature of kind id to candidate.features"
        )
    _check_shared_vocabularies(declared)


def _check_shared_vocabularies(declared: FeatureDeclarations) -> None:
    owners: dict[str, tuple[str, object]] = {}
    for feature in (*declared.query.features, *declared.candidate.features):
        if (
            isinstance(feature, kinds.HistoryFeature | kinds.TimestampFeature)
            or feature.kind == "numeric"
        ):
            continue
        if isinstance(feature, kinds.TextFeature):
            form: tuple[str, object] = (
                "text",
                (
                    feature.given_vocabulary,
                    feature.vocabulary_size,
                    feature.lower_case,
                    feature.keep_accents,
                ),
            )
        else:
            form = ("values", (feature.min_count, feature.max_size, feature.hash_buckets))
        known = owners.setdefault(feature.vocabulary_name, form)
        if known != form:
            raise ValueError(
                f"vocabulary '{feature.vocabulary_name}' is used by features with different "
                "settings; give them the same, or different vocabulary names"
            )
