"""Drafts a feature spec from samples of the three tables."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.init_spec import (
    column_names,
    date_orders,
    event_counts,
    feature_choices,
    identifiers,
    left_out_events,
    samples,
    split_choice,
)
from pipelines.init_spec.personal_cells import Records
from pipelines.init_spec.profiles import Profiles, profile_column
from pipelines.init_spec.roles import (
    Roles,
    assign_roles,
    find_split,
    pseudonym_of,
    smallest_positive,
)
from pipelines.init_spec.times import TimeUnit
from pipelines.transforms.cells import as_text
from tfrs_twotower.errors import DataError

_LEAST_COMING_BACK = 0.1
"""Share of the queries with several events from which histories are worth their place."""
TOWERS_READ, LINEAR_MODELS_READ = 50, 200
"""Events of a history that towers and linear models read."""
_LEAST_WITH_MORE = 0.1
"""Share of the queries with more candidates than towers read from which histories keep more."""


@dataclass(frozen=True)
class SpecDraft:
    """The content of a first feature spec: tables, columns' roles, both sides' features, split."""

    interactions: samples.Sample
    candidates: samples.Sample
    queries: samples.Sample | None
    event_profiles: Profiles
    candidate_profiles: Profiles
    query_profiles: Profiles
    """Empty without a table of queries."""
    query_id: identifiers.IdMatch
    candidate_id: identifiers.IdMatch
    roles: Roles
    time_unit: str | None
    smallest_positive: tuple[float | None, str]
    """The smallest label of a positive event, and the reason."""
    events: event_counts.Events
    """The events of the whole table, counted."""
    query_features: feature_choices.FeatureDrafts
    candidate_features: feature_choices.FeatureDrafts
    candidate_title: str | None
    query_title: str | None
    split: split_choice.SplitChoice
    query_split: str | None
    """Column of the queries that names their split."""
    left_out: tuple[left_out_events.LeftOut, ...] = ()
    """Events that no model can use."""
    questioned: tuple[left_out_events.LeftOut, ...] = ()
    """Events that may be no purchases."""
    bad_share: float = 0.0
    """Share of the records of a table that preprocessing will call bad."""

    def used_columns(self, table: str) -> tuple[str, ...]:
        """The columns of `interactions`, `queries` or `candidates` that the spec reads."""
        roles = self.roles
        named: list[str | None]
        if table == "interactions":
            order = (roles.timestamp, roles.order)
            own = (roles.label, roles.weight, roles.session, roles.split)
            named = [self.query_id.column, self.candidate_id.column, *order, *own]
        else:
            drafts, match, title = (
                (self.query_features, self.query_id, self.query_title)
                if table == "queries"
                else (self.candidate_features, self.candidate_id, self.candidate_title)
            )
            named = [match.entity_column, title, *(f.column for f in drafts.features)]
        return tuple(column for column in named if column)


def draft_spec(
    interactions: Path, candidates: Path, queries: Path | None, date_order: TimeUnit | None = None
) -> SpecDraft:
    """Reads samples of the tables and decides about the roles of their columns.

    Args:
        interactions: table of events.
        candidates: table of candidates.
        queries: table of queries, if there is one.
        date_order: `dmy` or `mdy`, for dates that may be either.

    Raises:
        DataError: a table cannot be read, ids do not match, no column allows a split, or the order
            of day and month does not show.
    """
    events, corpus = samples.read_sample(interactions), samples.read_sample(candidates)
    query_table = samples.read_sample(queries) if queries else None
    tables = date_orders.settle(
        {
            "interactions": (events, _profiles(events, "events")),
            "candidates": (corpus, _profiles(corpus, "things")),
            "queries": (query_table, _profiles(query_table, "people")),
        },
        date_order,
    )
    event_profiles, corpus_profiles = tables["interactions"], tables["candidates"]
    query_profiles = tables["queries"]
    query_id, candidate_id = identifiers.match_ids(
        event_profiles,
        corpus_profiles,
        query_profiles if query_table else None,
        (interactions, candidates, queries),
    )
    whose = event_profiles[query_id.column].meaning
    if query_table is None and whose is not None and whose.personal:
        number = pseudonym_of(query_id.column, event_profiles, events.columns)
        query_id = replace(query_id, column=number or query_id.column)
    roles = assign_roles(event_profiles, events.columns, query_id.column, candidate_id.column)
    query_split, split_values = find_split(query_profiles)
    if roles.split:
        query_split, split_values = None, roles.split_values
    if roles.timestamp is not None:
        date_orders.refuse_unknown(events.path, event_profiles[roles.timestamp])
    unit = event_profiles[roles.timestamp].time_unit if roles.timestamp else None
    entity = candidate_id.entity_column
    assert entity is not None  # there is always a table of candidates
    match = (query_id, candidate_id)
    left_out = left_out_events.unusable_events(
        event_profiles, match, roles.timestamp, corpus_profiles[entity]
    )
    positive: tuple[float | None, str] = (None, "")
    if roles.label is not None:
        timed = roles.timestamp is not None
        positive = smallest_positive(event_profiles[roles.label], timed=timed)
    counted = event_counts.count_events(
        events,
        event_counts.EventColumns(
            query=query_id.column,
            candidate=candidate_id.column,
            time=roles.timestamp or roles.order,
            time_unit="order" if roles.order else unit,
            label=roles.label,
            smallest_positive=positive[0],
            split=roles.split,
            split_values=split_values,
            left_out={one.column: one.values for one in left_out},
        ),
    )
    named: dict[str, str] = {}
    if query_table is not None and query_split is not None:
        ids = query_table.columns[query_id.entity_column or query_id.column]
        of_queries = zip(
            map(as_text, ids), map(as_text, query_table.columns[query_split]), strict=True
        )
        named = dict(of_queries)
    if roles.split or query_split:
        reason = f"the column '{roles.split or query_split}' names the split"
        split = split_choice.given_split(counted, split_values, named or None, reason)
    else:
        split = _split(events, event_profiles, roles, counted)
    # A split by query leaves nothing of an evaluated query's past. Without times or numbers, events
    # are in the order of the file.
    has_order = query_split is None and _come_back(counted)
    longest_history = _longest_history(counted) if has_order else 0
    title = feature_choices.find_title(corpus_profiles, entity)
    query_title = feature_choices.find_title(query_profiles, query_id.entity_column)
    return SpecDraft(
        interactions=events,
        candidates=corpus,
        queries=query_table,
        event_profiles=event_profiles,
        candidate_profiles=corpus_profiles,
        query_profiles=query_profiles,
        query_id=query_id,
        candidate_id=candidate_id,
        roles=roles,
        time_unit=unit,
        smallest_positive=positive,
        events=counted,
        query_features=_query_features(
            query_profiles, query_id, query_split, longest_history, query_title
        ),
        candidate_features=_candidate_features(corpus_profiles, entity, has_order, title),
        candidate_title=title,
        query_title=query_title,
        split=split,
        query_split=query_split,
        left_out=tuple(left_out),
        questioned=tuple(left_out_events.events_to_question(event_profiles, roles.unused)),
        bad_share=left_out_events.expected_bad_share(
            tables,
            {"interactions": events, "candidates": corpus},
            match,
            (roles.timestamp, unit),
            left_out,
        ),
    )


def _profiles(sample: samples.Sample | None, of: Records) -> Profiles:
    columns = sample.columns.items() if sample else ()
    return {name: profile_column(name, cells, of=of) for name, cells in columns}


def _come_back(events: event_counts.Events) -> bool:
    """Whether queries have several events, so that the earlier ones say something of the later."""
    return bool((events.per_query > 1).mean() >= _LEAST_COMING_BACK) if events.num_events else False


def _longest_history(events: event_counts.Events) -> int:
    """Events that histories keep: as many as towers read, or more for linear models."""
    has_more = (events.candidates_per_query > TOWERS_READ).mean()
    return LINEAR_MODELS_READ if has_more >= _LEAST_WITH_MORE else TOWERS_READ


def _split(
    events: samples.Sample,
    profiles: Profiles,
    roles: Roles,
    counted: event_counts.Events,
) -> split_choice.SplitChoice:
    if roles.timestamp is not None:
        return split_choice.choose_split(counted)
    if roles.order is not None:
        reason = f"'{roles.order}' numbers the events of each query; no times"
        return split_choice.without_times(counted, reason)
    unread = _unread_time(profiles)
    if unread:
        raise DataError(
            f"{events.path}: no column of times and none that names a split (found "
            f"{', '.join(events.columns)}){unread}. Write the time of each event "
            "as 2024-05-31 18:30:00, 31.05.2024 18:30 or 05/31/2024, or in seconds, milli- or "
            "microseconds since 1970 in a column called timestamp; or rename the column, or add a "
            "column 'split' with train, validation and test."
        )
    return split_choice.without_times(
        counted,
        "no column has times, so a query's last events are the last in the file; if the file is "
        "sorted by something else, shuffle it, or add a column of times",
    )


def _unread_time(profiles: Profiles) -> str:
    """Names a column that is named like a time but holds times in a form that is not read."""
    for name, profile in profiles.items():
        named = column_names.mentions(name, column_names.TIME_WORDS)
        other = profile.numbers or profile.meaning
        if profile.present and not profile.times and named and not other:
            return f"; '{name}' may be one, but '{profile.present[0]}' is not read as a time"
    return ""


def _candidate_features(
    profiles: Profiles, id_column: str, histories: bool, title: str | None
) -> feature_choices.FeatureDrafts:
    name = column_names.feature_name(id_column)
    own = feature_choices.FeatureDraft(
        name, id_column, "id", "the candidate's id, which histories are looked up with"
    )
    rest = feature_choices.draft_features(profiles, id_column, (), {name}, title)
    if rest.features and not histories:
        reason = "is the id, which only histories and repeated candidates need"
        return feature_choices.FeatureDrafts(rest.features, ((id_column, reason), *rest.left_out))
    return feature_choices.FeatureDrafts((own, *rest.features), rest.left_out)


def _query_features(
    profiles: Profiles,
    match: identifiers.IdMatch,
    split: str | None,
    longest_history: int,
    title: str | None,
) -> feature_choices.FeatureDrafts:
    features: list[feature_choices.FeatureDraft] = []
    if longest_history:
        reason = "the query's earlier candidates, known from the interactions"
        length = {"max_length": longest_history}
        features.append(feature_choices.FeatureDraft("history", "", "history", reason, length))
    skip = () if split is None else (split,)
    rest = feature_choices.draft_features(profiles, match.entity_column, skip, {"history"}, title)
    features += rest.features
    if not features:
        name = column_names.feature_name(match.column)
        column = match.entity_column or match.column
        features.append(
            feature_choices.FeatureDraft(
                name, column, "id", "the only thing that is known about a query"
            )
        )
    return feature_choices.FeatureDrafts(tuple(features), rest.left_out)
