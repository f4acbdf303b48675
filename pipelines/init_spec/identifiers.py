"""Finds the columns of the interactions with the ids of the queries and of the candidates.

The id column of an entity's table has a different value in every record (but for a few mistakes,
which preprocessing quarantines); the matching column of the interactions shares its values. Names
decide between columns that share values by chance, as running numbers do.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.init_spec import profiles
from tfrs_twotower.data.ids import plain_id
from tfrs_twotower.errors import DataError

QUERY_HINTS = (
    *("user", "customer", "client", "member", "visitor", "person", "account", "household"),
    *("query", "question", "reader", "shopper", "buyer", "listener", "viewer", "device", "uid"),
)
_MISTAKES = 0.02
_LEAST_RECORDS = 20
"""In a smaller table a repeated value does not count as a mistake: the column is not the id."""
_LEAST_SHARED = 0.01


@dataclass(frozen=True)
class IdMatch:
    """An id column of the interactions, and the column that it refers to."""

    column: str
    """Column of the interactions."""
    entity_column: str | None
    """Column of the table of queries or candidates; None if there is no such table."""
    shared: float
    """Share of the distinct ids of the interactions that are in the table's sample, 0 to 1."""
    score: float
    whole_numbers: bool = False
    """Whether only the numbers are the same, as with `2.0` and `2`."""


def match_ids(
    interactions: profiles.Profiles,
    candidates: profiles.Profiles,
    queries: profiles.Profiles | None,
    paths: tuple[Path, Path, Path | None],
) -> tuple[IdMatch, IdMatch]:
    """Finds the query's and the candidate's id columns.

    Args:
        interactions: profiles by column.
        candidates: profiles by column.
        queries: profiles by column, if there is a table of queries.
        paths: paths of the three tables, in this order.

    Returns:
        The match of the query id and that of the candidate id.

    Raises:
        DataError: no column matches.
    """
    candidate_matches = _matches(interactions, candidates, paths[1]) or _whole_matches(
        interactions, candidates, paths[1]
    )
    if not candidate_matches:
        raise _no_match(interactions, candidates, paths[0], paths[1], "candidate")
    if queries is None or paths[2] is None:
        query_matches = _without_table(interactions)
    else:
        query_matches = _matches(interactions, queries, paths[2]) or _whole_matches(
            interactions, queries, paths[2]
        )
        if not query_matches:
            raise _no_match(interactions, queries, paths[0], paths[2], "query")
    pairs = [
        (query, candidate)
        for query in query_matches
        for candidate in candidate_matches
        if query.column != candidate.column
    ]
    if not pairs:
        raise DataError(
            f"{paths[0]}: '{candidate_matches[0].column}' is the candidate's id, and no other "
            f"column looks like a query's id (found {', '.join(interactions)}). Add a column that "
            "names who or what each event belongs to, such as user_id."
        )
    return max(pairs, key=lambda pair: pair[0].score + pair[1].score)


def _matches(
    interactions: profiles.Profiles, entities: profiles.Profiles, path: Path
) -> list[IdMatch]:
    matches = []
    for entity in entities.values():
        if not _is_identity(entity):
            continue
        for column in interactions.values():
            if column.time_unit or not column.counts:
                continue
            shared = len(column.counts.keys() & entity.counts.keys())
            of_events, of_entities = shared / column.distinct, shared / entity.distinct
            if max(of_events, of_entities) < _LEAST_SHARED:
                continue
            score = max(of_events, of_entities) + 2 * _likeness(column.name, entity.name, path)
            score += 0.2 * (profiles.names_an_id(column.name) + profiles.names_an_id(entity.name))
            matches.append(IdMatch(column.name, entity.name, of_events, score))
    return matches


def _whole_matches(
    interactions: profiles.Profiles, entities: profiles.Profiles, path: Path
) -> list[IdMatch]:
    """Matches of ids by the whole numbers that they are, where names are the same too."""
    plain = [
        {
            name: replace(profile, counts=Counter(map(plain_id, profile.counts.elements())))
            for name, profile in table.items()
            if profile.whole_numbers
        }
        for table in (interactions, entities)
    ]
    return [
        replace(match, whole_numbers=True)
        for match in _matches(plain[0], plain[1], path)
        if match.entity_column is not None and _names_alike(match.column, match.entity_column)
    ]


def _is_identity(profile: profiles.Profile) -> bool:
    """Whether a column has a value for every record, all different, and not times or fractions."""
    repeated = len(profile.present) - profile.distinct
    absent = profile.num_records - len(profile.present)
    tolerated = max(1, _MISTAKES * profile.num_records)
    if profile.num_records < _LEAST_RECORDS:
        tolerated = 0
    if repeated + absent > tolerated or profile.time_unit:
        return False
    return not profile.numbers or profile.whole_numbers


def _likeness(column: str, entity_column: str, path: Path) -> float:
    """Similarity of two column names, 0 to 1; a bare `id` takes the name of its table."""
    if profiles.words_of(column) == profiles.words_of(entity_column):
        return 1.0
    own = profiles.subject_of(column)
    other = profiles.subject_of(entity_column) or profiles.subject_of(path.name.split(".")[0])
    both = own | other
    return 0.9 * len(own & other) / len(both) if both else 0.0


def _without_table(interactions: profiles.Profiles) -> list[IdMatch]:
    """Matches of the query id by name and repetition, for data without a table of queries."""
    matches = []
    for column in interactions.values():
        fractional = bool(column.numbers) and not column.whole_numbers
        if column.time_unit or column.distinct < 2 or fractional:
            continue
        hinted = profiles.mentions(column.name, QUERY_HINTS)
        score = 2.0 * hinted + 0.5 * profiles.names_an_id(column.name)
        score += 0.5 * (column.uniqueness < 0.9)  # events of one query come more than once
        if hinted or profiles.names_an_id(column.name):
            matches.append(IdMatch(column.name, None, 0.0, score))
    return matches


def _no_match(
    interactions: profiles.Profiles,
    entities: profiles.Profiles,
    events: Path,
    table: Path,
    side: str,
) -> DataError:
    unique = [name for name, profile in entities.items() if _is_identity(profile)]
    if not unique:
        return DataError(
            f"{table}: no column has a different value in every record (found "
            f"{', '.join(entities)}). Each {side} needs one record and an id: remove duplicates."
        )
    return DataError(
        f"{events}: no column shares values with {' or '.join(repr(n) for n in unique)} of {table} "
        f"(found {', '.join(interactions)}). The {side}'s id must be written alike in both tables"
        + _written_otherwise(interactions, [entities[name] for name in unique])
    )


def _written_otherwise(interactions: profiles.Profiles, identities: list[profiles.Profile]) -> str:
    """The end of the message: an example of an id that the two tables write differently."""
    for identity in identities:
        plain = {plain_id(value): value for value in identity.counts}
        for column in interactions.values():
            for value in column.counts:
                other = plain.get(plain_id(value))
                if other is not None and _names_alike(column.name, identity.name):
                    return f": '{column.name}' is '{value}' in one and '{other}' in the other."
    return "."


def _names_alike(one: str, other: str) -> bool:
    """Whether the names of two columns have the same words."""
    return bool(profiles.words_of(one)) and profiles.words_of(one) == profiles.words_of(other)
