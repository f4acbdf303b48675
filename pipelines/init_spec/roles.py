"""Assigns roles to the other columns of the interactions, and chooses a split."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.init_spec.profiles import TIME_HINTS, Profile, Profiles, mentions, words_of
from pipelines.transforms.cells import as_event_time, as_text
from tfrs_twotower.errors import RecordError

_LEAST_SPAN_DAYS = 14
_LEAST_RETURNING = 0.3
_TEST_SHARE = 0.1
_HIGHEST_GRADE = 4
_MOST_TIMES = 0.95
_DAY_S = 86_400
LABEL_HINTS = (
    *("rating", "ratings", "stars", "score", "grade", "label", "relevance", "feedback"),
    *("preference", "bewertung", "note"),
)
WEIGHT_HINTS = ("weight", "weights", "importance")
SESSION_HINTS = (
    *("session", "basket", "invoice", "order", "cart", "visit", "trip", "transaction", "receipt"),
)
SPLIT_HINTS = ("split", "fold", "subset", "partition")
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


def choose_split(times: Sequence[int | None], query_ids: Sequence[Any]) -> tuple[str, str]:
    """Chooses `temporal` or `per_query_last`, and states the reason.

    A global cut-off resembles serving, but it tests only queries that return after it. Where most
    queries have all their events close together, hardly any test query would have a history.
    """
    events = sorted(
        (time, as_text(query)) for time, query in zip(times, query_ids, strict=True) if time
    )
    if len(events) < 10:
        return "per_query_last", "there are few events with a time"
    span_days = (events[-1][0] - events[0][0]) / _DAY_S
    if span_days < _LEAST_SPAN_DAYS:
        return "per_query_last", f"the sampled events span only {span_days:.1f} days"
    cut = events[int(len(events) * (1 - _TEST_SHARE))][0]
    before = {query for time, query in events if time < cut}
    after = {query for time, query in events if time >= cut}
    returning = len(after & before) / len(after)
    reason = (
        f"the sampled events span {span_days:.0f} days, and {returning:.0%} of the queries in the "
        "last tenth have earlier events"
    )
    return ("temporal" if returning >= _LEAST_RETURNING else "per_query_last"), reason


@dataclass(frozen=True)
class Roles:
    """The columns of the interactions by role; None where no column has the role."""

    timestamp: str | None
    label: str | None
    weight: str | None
    session: str | None
    split: str | None
    split_values: dict[str, str]
    """The split column's values for train, validation and test, by the names of the splits."""
    unused: tuple[str, ...]


def assign_roles(interactions: Profiles, ids: Collection[str]) -> Roles:
    """Assigns at most one role to each column that is not an id."""
    rest = {name: profile for name, profile in interactions.items() if name not in ids}
    taken: set[str] = set()

    def first(names: list[str]) -> str | None:
        chosen = next((name for name in names if name not in taken), None)
        taken.update([chosen] if chosen else [])
        return chosen

    split, split_values = find_split(rest)
    taken.update([split] if split else [])
    times = [name for name, profile in rest.items() if _are_event_times(profile)]
    times.sort(key=lambda name: not mentions(name, TIME_HINTS))
    timestamp = first(times)
    label = first([name for name, profile in rest.items() if _is_label(name, profile)])
    weight = first([name for name, profile in rest.items() if _is_weight(name, profile)])
    session = first([name for name, profile in rest.items() if _is_session(name, profile)])
    unused = tuple(name for name in rest if name not in taken)
    return Roles(timestamp, label, weight, session, split, split_values, unused)


def find_split(profiles: Profiles) -> tuple[str | None, dict[str, str]]:
    """The column that names each record's split, and its values for the three splits."""
    for name, profile in profiles.items():
        if not mentions(name, SPLIT_HINTS) or not profile.counts:
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


def _are_event_times(profile: Profile) -> bool:
    if profile.time_unit is None:
        return False
    times = event_times(profile.present, profile.time_unit)
    return sum(time is not None for time in times) >= _MOST_TIMES * len(times)


def _is_label(name: str, profile: Profile) -> bool:
    return bool(profile.numbers) and 1 < profile.distinct <= 101 and mentions(name, LABEL_HINTS)


def _is_weight(name: str, profile: Profile) -> bool:
    positive = bool(profile.numbers) and min(profile.numbers) > 0
    return positive and mentions(name, WEIGHT_HINTS)


def _is_session(name: str, profile: Profile) -> bool:
    if not profile.counts or (profile.numbers and not profile.whole_numbers):
        return False
    words = words_of(name)
    # `order_total` belongs to an order but does not identify it.
    last = [word for word in words if word not in ("id", "no", "nr", "number", "code", "key")]
    return bool(last) and last[-1] in SESSION_HINTS and profile.distinct > 1
