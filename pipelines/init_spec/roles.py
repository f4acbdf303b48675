"""Assigns roles to the other columns of the interactions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.init_spec import column_names as names
from pipelines.init_spec.profiles import Profile, Profiles
from pipelines.init_spec.times import are_orders
from pipelines.transforms.cells import as_event_time, as_text
from tfrs_twotower.errors import RecordError

_HIGHEST_GRADE = 4
_MOST_TIMES = 0.95
Columns = Mapping[str, Sequence[Any]]
"""The sampled cells of a table by column."""
_MOST_OWNERS = 2.0
_FEWEST_BASKETS = 5
_ONE_OWNER = 1.05
_SHARED_TIME = 0.8
_SPLIT_VALUES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def event_times(cells: Sequence[Any], unit: str) -> list[int | None]:
    """Time of each event in seconds since 1970; None where the cell is not a time."""
    times: list[int | None] = []
    for cell in cells:
        try:
            times.append(as_event_time(cell, unit))
        except RecordError:
            times.append(None)
    return times


@dataclass(frozen=True)
class Roles:
    """The columns of the interactions by role; None where no column has the role."""

    timestamp: str | None
    order: str | None
    """A column that numbers the events of each query, where no column has times."""
    label: str | None
    weight: str | None
    session: str | None
    split: str | None
    split_values: dict[str, str]
    """The split column's values for train, validation and test, by the names of the splits."""
    unused: tuple[str, ...]


def assign_roles(
    interactions: Profiles, columns: Columns, query_id: str, candidate_id: str
) -> Roles:
    """Assigns at most one role to each column that is not an id.

    Args:
        interactions: profiles by column.
        columns: the sampled cells by column.
        query_id: column of the query's id.
        candidate_id: column of the candidate's id.
    """
    ids = (query_id, candidate_id)
    rest = {name: profile for name, profile in interactions.items() if name not in ids}
    taken: set[str] = set()

    def first(names: list[str]) -> str | None:
        chosen = next((name for name in names if name not in taken), None)
        taken.update([chosen] if chosen else [])
        return chosen

    split, split_values = find_split(rest)
    taken.update([split] if split else [])
    timestamp = first(_event_times(rest, columns, query_id))
    order = None
    if timestamp is None:
        counted = [name for name, profile in rest.items() if profile.whole_numbers]
        order = first([n for n in counted if are_orders(columns[query_id], columns[n])])
    label = first([name for name, profile in rest.items() if _is_label(name, profile)])
    weight = first([name for name, profile in rest.items() if _is_weight(name, profile)])
    session = first(_sessions(rest, columns, query_id, timestamp))
    unused = tuple(name for name in rest if name not in taken)
    return Roles(timestamp, order, label, weight, session, split, split_values, unused)


def find_split(profiles: Profiles) -> tuple[str | None, dict[str, str]]:
    """The column that names each record's split, and its values for the three splits."""
    for name, profile in profiles.items():
        if not names.mentions(name, names.SPLIT_WORDS) or not profile.counts:
            continue
        values = {
            split: next((value for value in profile.counts if value.lower() in known), None)
            for split, known in _SPLIT_VALUES.items()
        }
        named = {split: value for split, value in values.items() if value is not None}
        if len(named) == len(_SPLIT_VALUES):
            return name, named
    return None, {}


def smallest_positive(profile: Profile, *, timed: bool = True) -> tuple[float | None, str]:
    """The smallest label of a positive event, and the reason; None if the labels do not show it.

    Judgements, which begin at 0 and have no time or end at 4 or below, count as relevant above 0;
    so do labels of any other scale that begins at 0 or below. Ratings count from 4 of 5 or 7 of 10.

    Args:
        profile: the labels.
        timed: whether the events have times.
    """
    low, high = min(profile.numbers), max(profile.numbers)
    above = min((number for number in profile.numbers if number > 0), default=None)
    if low <= 0 and above is not None and (not timed or high <= _HIGHEST_GRADE):
        return above, _above_zero(profile)
    for top, threshold in ((1, 1.0), (5, 4.0), (10, 7.0)):
        if high <= top and low >= 0 and any(number >= threshold for number in profile.numbers):
            share = sum(number >= threshold for number in profile.numbers) / len(profile.numbers)
            return (
                threshold,
                f"labels run from {low:g} to {high:g}; {share:.0%} are {threshold:g} or more",
            )
    if low <= 0 and above is not None:
        return above, _above_zero(profile)
    return None, f"labels run from {low:g} to {high:g}: set the smallest that is positive"


def _above_zero(profile: Profile) -> str:
    low, high = min(profile.numbers), max(profile.numbers)
    share = sum(number > 0 for number in profile.numbers) / len(profile.numbers)
    return f"labels run from {low:g} to {high:g}; {share:.0%} are above 0"


def _event_times(rest: Profiles, columns: Columns, query_id: str) -> list[str]:
    """The columns of times of events, best first: when it was ordered, not paid, sent or changed.

    A time that is the same in all events of each query is one of the query: a first visit, say.
    """
    found = []
    for name, profile in rest.items():
        if not _are_event_times(profile) or profile.meaning is not None:
            continue
        values = sum(_values_by_owner(columns[query_id], columns[name]).values())
        queries = len({as_text(cell) for cell in columns[query_id] if cell is not None})
        of_query = values == queries < 0.5 * len(profile.present)
        later = names.mentions(name, names.LATER_TIME_WORDS)
        told = names.mentions(name, names.TIME_WORDS) + names.mentions(name, names.EVENT_TIME_WORDS)
        found.append((of_query, later, profile.missing > 0.01, -told, name))
    return [name for *_, name in sorted(found, key=lambda item: item[:-1])]


def _are_event_times(profile: Profile) -> bool:
    if profile.time_unit is None:
        return False
    times = event_times(profile.present, profile.time_unit)
    return sum(time is not None for time in times) >= _MOST_TIMES * len(times)


def _is_label(name: str, profile: Profile) -> bool:
    told = names.mentions(name, names.LABEL_WORDS)
    return bool(profile.numbers) and not profile.is_code and 1 < profile.distinct <= 101 and told


def _is_weight(name: str, profile: Profile) -> bool:
    positive = bool(profile.numbers) and min(profile.numbers) > 0
    return positive and names.mentions(name, names.WEIGHT_WORDS)


def _sessions(rest: Profiles, columns: Columns, query_id: str, timestamp: str | None) -> list[str]:
    """The columns that name the basket, order or visit of an event, best first.

    A basket belongs to one query. Named columns need little more; others must have several events
    to a value, mostly of one time, as the lines of an order have.
    """
    found = []
    for name, profile in rest.items():
        fractional = bool(profile.numbers) and not profile.whole_numbers
        other = profile.times or profile.separator or (profile.meaning and profile.meaning.personal)
        if not profile.counts or fractional or other or profile.distinct < 2:
            continue
        owners = _values_by_owner(columns[name], columns[query_id])
        per_basket = sum(owners.values()) / len(owners)
        last = names.last_subject(name)
        # `order_total` and `order line` belong to an order but do not identify it.
        told = names.mentions(last, names.SESSION_WORDS) and not names.mentions(
            name, names.LINE_WORDS
        )
        several = profile.uniqueness < 0.9 and profile.distinct > _FEWEST_BASKETS
        queries = len({as_text(cell) for cell in columns[query_id] if cell is not None})
        together = False
        if timestamp is not None and several and per_basket <= _ONE_OWNER:
            times = _values_by_owner(columns[name], columns[timestamp])
            one = sum(number == 1 for number in times.values()) / len(times)
            together = one >= _SHARED_TIME and profile.distinct > 1.05 * queries
        coded = profile.is_code or names.names_an_id(name)
        if (told and per_basket <= _MOST_OWNERS) or (together and coded):
            found.append((told + together, profile.is_code, -profile.missing, name))
    return [name for *_, name in sorted(found, key=lambda item: item[:-1], reverse=True)]


def pseudonym_of(query_id: str, interactions: Profiles, columns: Columns) -> str | None:
    """A number or code that stands for the same queries as a column of personal data."""
    for name, profile in interactions.items():
        numbers = profile.whole_numbers and not profile.times
        if name == query_id or not (numbers or profile.is_code) or profile.missing > 0.01:
            continue
        if profile.meaning is not None and profile.meaning.personal:
            continue
        pairs = (columns[name], columns[query_id])
        both = (_values_by_owner(*pairs), _values_by_owner(*reversed(pairs)))
        if all(values and max(values.values()) == 1 for values in both):
            return name
    return None


def _values_by_owner(owners: Sequence[Any], values: Sequence[Any]) -> dict[str, int]:
    """The number of distinct values in the records of each owner; missing cells are none."""
    pairs = {
        (as_text(owner), as_text(value))
        for owner, value in zip(owners, values, strict=True)
        if owner is not None and value is not None
    }
    return Counter(owner for owner, _ in pairs)
