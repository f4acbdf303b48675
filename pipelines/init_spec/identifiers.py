"""Finds the columns of the interactions with the ids of the queries and of the candidates.

The id column of an entity's table has a different value in every record (but for a few mistakes,
which preprocessing quarantines); the matching column of the interactions shares its values. Names
decide between columns that share values by chance, as running numbers do.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pipelines.init_spec import column_names as names
from pipelines.init_spec import profiles
from pipelines.init_spec.cell_meanings import EMAILS, PHONES
from tfrs_twotower.data.ids import plain_id
from tfrs_twotower.errors import DataError

_MISTAKES = 0.02
_LEAST_RECORDS = 20
"""In a smaller table a repeated value does not count as a mistake: the column is not the id."""
_LEAST_SHARED = 0.01
_SURELY_SHARED = 0.5
_LITTLE_SHARED = 0.1
_FEWEST_QUERIES = 3
_SHORTEST_BEGINNING = 3
_MANY = 50


_NO_QUERY = (
    *(*names.LINE_WORDS, *names.QUANTITY_WORDS, *names.SESSION_WORDS, *names.ITEM_WORDS),
    *(*names.BARCODE_WORDS, *names.POSTAL_WORDS, "sku"),
)
"""Words in the names of columns of events that tell anything but whose an event is."""


class _Side(NamedTuple):
    """Where the records of one side are, and how their ids are called."""

    path: Path
    own_words: Sequence[str]
    other_words: Sequence[str]


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
    things = (interactions, candidates, _Side(paths[1], names.ITEM_WORDS, names.QUERY_WORDS))
    candidate_matches = [*_matches(*things), *_whole_matches(*things)]
    if not candidate_matches:
        raise _no_match(interactions, candidates, paths[0], paths[1], "candidate")
    if queries is None or paths[2] is None:
        of_things = {match.column for match in candidate_matches if match.shared > _SURELY_SHARED}
        query_matches = [
            match
            for match in _without_table(interactions)
            if match.column not in of_things or names.mentions(match.column, names.QUERY_WORDS)
        ]
    else:
        people = (interactions, queries, _Side(paths[2], names.QUERY_WORDS, names.ITEM_WORDS))
        query_matches = [*_matches(*people), *_whole_matches(*people)]
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
    interactions: profiles.Profiles, entities: profiles.Profiles, side: _Side
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
            share = max(of_events, of_entities)
            score = share + 0.5 * of_events + 2 * _likeness(column.name, entity.name, side.path)
            score -= 1.5 * (share < _LITTLE_SHARED)
            score -= 1.5 * names.mentions(column.name, names.QUANTITY_WORDS)
            score += 0.5 * names.mentions(column.name, side.own_words)
            score -= 0.5 * names.mentions(column.name, side.other_words)
            # A number of the record itself is shared by chance.
            score -= 0.5 * (column.uniqueness > 1 - _MISTAKES and len(column.present) > _MANY)
            score += 0.2 * (names.names_an_id(column.name) + names.names_an_id(entity.name))
            # An e-mail address or a link is the id only where there is no other.
            score -= 0.5 * column.is_opaque
            matches.append(IdMatch(column.name, entity.name, of_events, score))
    return matches


def _whole_matches(
    interactions: profiles.Profiles, entities: profiles.Profiles, side: _Side
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
        replace(match, whole_numbers=True, score=match.score - 0.5)
        for match in _matches(plain[0], plain[1], side)
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
    own, other = names.subject_of(column), names.subject_of(entity_column)
    if names.words_of(column) == names.words_of(entity_column):
        return 1.0 if own else 0.2  # `id` here and `id` there are of different things
    other = other or names.subject_of(path.name.split(".")[0])
    both = own | other
    if not both:
        return 0.0
    begun = sum(any(_begins(word, known) for known in other) for word in own - other)
    return (0.9 * len(own & other) + 0.6 * begun) / len(both)


def _begins(word: str, known: str) -> bool:
    """Whether one word abbreviates the other, as `art` does `artikel`."""
    short, long = sorted((word, known), key=len)
    return len(short) >= _SHORTEST_BEGINNING and long.startswith(short)


def _without_table(interactions: profiles.Profiles) -> list[IdMatch]:
    """Matches of the query id for data without a table of queries.

    The name tells, or that the cells are addresses of people or codes which come again and again.
    """
    matches = []
    for column in interactions.values():
        fractional = bool(column.numbers) and not column.whole_numbers
        if column.times or column.distinct < 2 or fractional or column.separator:
            continue
        hinted = names.mentions(column.name, names.QUERY_WORDS)
        named = names.names_an_id(column.name)
        person = column.meaning is not None and column.meaning.personal
        coded = column.is_code and not person
        few = column.distinct < min(_FEWEST_QUERIES, len(column.present) / 4)
        score = 2.0 * hinted + 0.5 * named
        score += 0.5 * (column.uniqueness < 0.9)  # events of one query come more than once
        score += 0.3 * coded + 0.1 * person - 2.0 * (few and not hinted)
        score += 1.2 * (column.meaning == EMAILS) + 0.4 * (column.meaning == PHONES)
        # Of what is known about a customer, the number is the id; a name may be that of several.
        score -= 0.7 * (person and hinted) + 0.3 * (hinted and not named and not coded)
        score -= 1.5 * names.mentions(column.name, _NO_QUERY)
        if hinted or named or (column.meaning is not None and (person or coded)):
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
    return bool(names.words_of(one)) and names.words_of(one) == names.words_of(other)
