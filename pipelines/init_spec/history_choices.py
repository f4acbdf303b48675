"""What the run config says of histories: how far back parts look, and their linear model."""

from collections.abc import Iterator
from typing import Any

from pipelines.init_spec.seen import ORDER_TELLS_MUCH, Seen
from pipelines.init_spec.spec_draft import TOWERS_READ

_EASE_CANDIDATES = 6_000
"""Largest corpus whose matrix EASE inverts within seconds: it does so for the first stage, for the
second, and again for both with the validation window."""
_ORDER_TELLS = 1.05
_WORDS = 1500


def history(seen: Seen) -> Iterator[tuple[str, Any, str]]:
    """Settings of every tower that reads a history."""
    if seen.has_long_histories:
        reason = "more events cost training time and help linear models alone, which read all"
        yield "history_length", TOWERS_READ, reason
    if seen.has_history:
        yield "history_dropout", 0.2, "a query should not depend on single events"
        if seen.has_content:
            reason = "categories and words of what a query had count, too"
            yield "history_content", "learned", reason


def has_linear_model(seen: Seen) -> bool:
    """Whether histories are long enough to say what was chosen together."""
    return seen.has_history and not seen.is_short


def linear_model(seen: Seen) -> dict[str, Any]:
    """Its kind and penalty: a large corpus is cut to its leading directions before it is solved."""
    if seen.num_candidates <= _EASE_CANDIDATES:
        return {"kind": "ease", "l2": 200}
    return {"kind": "truncated", "l2": 1000}


def decays(seen: Seen) -> list[int | None]:
    """Half-lives of a linear model, one score for each."""
    if seen.recency is not None and seen.recency >= ORDER_TELLS_MUCH:
        return [None, 4, 1]
    return [None, 8]


def windows(seen: Seen) -> list[int | None]:
    """Days of popularity: all, and windows that fit several times into the time that is known."""
    return [None, *(days for days in (30, 7) if seen.has_time and days <= seen.span_days / 4)]


def half_lives(seen: Seen) -> tuple[int | None, tuple[int | None, ...], str]:
    """Half-lives in events of the first stage and of each member of the second; the reason."""
    if seen.recency is None:
        return 8, (4, 16), "recent events often say more than old ones"
    measured = (
        f"candidates are {seen.recency:.2f} times as near to the one that the query had before as "
        "to its old ones"
    )
    if seen.recency < _ORDER_TELLS:
        return None, (), f"{measured}: all events of a history count alike"
    if seen.recency < ORDER_TELLS_MUCH:
        return 8, (4, 16), f"{measured}: an event counts half as much as one eight later"
    if seen.is_sequence:
        return 2, (), f"{measured}: beside attention, the last two events count most"
    return 4, (2, 8), f"{measured}: an event counts half as much as one four later"


def tastes(seen: Seen) -> tuple[dict[str, Any], str]:
    """Settings of what a query prefers, and why; nothing where candidates have no such features."""
    has = {"categories": seen.has_categories, "words": seen.text_width > 0}
    named = " and ".join(name for name, there in has.items() if there)
    if not seen.has_history or not named:
        return {}, ""
    words = {"words": _WORDS} if has["words"] else {}
    return {"strength": 5, **words}, f"{named} that a query chose more often than others do"
