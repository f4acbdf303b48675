"""Drafts a feature spec from samples of the three tables."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipelines.init_spec import feature_choices, identifiers, samples
from pipelines.init_spec.profiles import (
    TIME_HINTS,
    Profiles,
    feature_name,
    mentions,
    profile_column,
)
from pipelines.init_spec.roles import Roles, assign_roles, choose_split, event_times, find_split
from tfrs_twotower.errors import DataError


@dataclass(frozen=True)
class SpecDraft:
    """The content of a first feature spec: tables, columns' roles, both sides' features, split."""

    interactions: samples.Sample
    candidates: samples.Sample
    queries: samples.Sample | None
    event_profiles: Profiles
    query_id: identifiers.IdMatch
    candidate_id: identifiers.IdMatch
    roles: Roles
    time_unit: str | None
    query_features: feature_choices.FeatureDrafts
    candidate_features: feature_choices.FeatureDrafts
    candidate_title: str | None
    query_title: str | None
    split_kind: str
    split_reason: str
    split_values: dict[str, str]
    """Values for train, validation and test of a given split, by the names of the splits."""
    query_split: str | None
    """Column of the queries that names their split."""


def draft_spec(interactions: Path, candidates: Path, queries: Path | None) -> SpecDraft:
    """Reads samples of the tables and decides about the roles of their columns.

    Raises:
        DataError: a table cannot be read, ids do not match, or no column allows a split.
    """
    events, corpus = samples.read_sample(interactions), samples.read_sample(candidates)
    query_table = samples.read_sample(queries) if queries else None
    event_profiles, corpus_profiles = _profiles(events), _profiles(corpus)
    query_profiles = _profiles(query_table) if query_table else None
    query_id, candidate_id = identifiers.match_ids(
        event_profiles, corpus_profiles, query_profiles, (interactions, candidates, queries)
    )
    roles = assign_roles(event_profiles, (query_id.column, candidate_id.column))
    query_split, split_values = find_split(query_profiles or {})
    if roles.split:
        query_split, split_values = None, roles.split_values
    unit = event_profiles[roles.timestamp].time_unit if roles.timestamp else None
    kind, reason = _split(events, event_profiles, roles, unit, query_id.column, query_split)
    query_side = _query_features(query_profiles, query_id, query_split, roles)
    assert candidate_id.entity_column is not None  # there is always a table of candidates
    return SpecDraft(
        interactions=events,
        candidates=corpus,
        queries=query_table,
        event_profiles=event_profiles,
        query_id=query_id,
        candidate_id=candidate_id,
        roles=roles,
        time_unit=unit,
        query_features=query_side,
        candidate_features=_candidate_features(
            corpus_profiles, candidate_id.entity_column, histories=roles.timestamp is not None
        ),
        candidate_title=feature_choices.find_title(corpus_profiles, candidate_id.entity_column),
        query_title=feature_choices.find_title(query_profiles or {}, query_id.entity_column or ""),
        split_kind=kind,
        split_reason=reason,
        split_values=split_values,
        query_split=query_split,
    )


def _profiles(sample: samples.Sample) -> Profiles:
    return {name: profile_column(name, cells) for name, cells in sample.columns.items()}


def _split(
    events: samples.Sample,
    profiles: Profiles,
    roles: Roles,
    unit: str | None,
    query_column: str,
    query_split: str | None,
) -> tuple[str, str]:
    if roles.split or query_split:
        return "given", f"the column '{roles.split or query_split}' names the split"
    if roles.timestamp is None or unit is None:
        raise DataError(
            f"{events.path}: no column of times and none that names a split (found "
            f"{', '.join(events.columns)}){_unread_time(profiles)}. Add the time of each event "
            "(ISO 8601 such as 2024-05-31 18:30:00, or seconds, milli- or microseconds since 1970 "
            "in a column called timestamp), or a column 'split' with train, validation and test."
        )
    times = event_times(events.columns[roles.timestamp], unit)
    return choose_split(times, events.columns[query_column])


def _unread_time(profiles: Profiles) -> str:
    """Names a column that is named like a time but holds times in a form that is not read."""
    for name, profile in profiles.items():
        if profile.present and not profile.time_unit and mentions(name, TIME_HINTS):
            return f"; '{name}' may be one, but '{profile.present[0]}' is not read as a time"
    return ""


def _candidate_features(
    profiles: Profiles, id_column: str, histories: bool
) -> feature_choices.FeatureDrafts:
    name = feature_name(id_column)
    own = feature_choices.FeatureDraft(
        name, id_column, "id", "the candidate's id, which histories are looked up with"
    )
    rest = feature_choices.draft_features(profiles, (id_column,), {name})
    if rest.features and not histories:
        reason = "is the id, which only histories and repeated candidates need"
        return feature_choices.FeatureDrafts(rest.features, ((id_column, reason), *rest.left_out))
    return feature_choices.FeatureDrafts((own, *rest.features), rest.left_out)


def _query_features(
    profiles: Profiles | None, match: identifiers.IdMatch, split: str | None, roles: Roles
) -> feature_choices.FeatureDrafts:
    features: list[feature_choices.FeatureDraft] = []
    if roles.timestamp:
        reason = "the query's earlier candidates, known from the interactions"
        features.append(
            feature_choices.FeatureDraft("history", "", "history", reason, {"max_length": 50})
        )
    skip: Collection[str] = [c for c in (match.entity_column, split) if c]
    rest = feature_choices.draft_features(profiles or {}, skip, {"history"})
    features += rest.features
    if not features:
        name = feature_name(match.column)
        column = match.entity_column or match.column
        features.append(
            feature_choices.FeatureDraft(
                name, column, "id", "the only thing that is known about a query"
            )
        )
    return feature_choices.FeatureDrafts(tuple(features), rest.left_out)
