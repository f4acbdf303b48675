"""Ids that mean the same although tools wrote them differently, and hints for unknown ones."""

import re
from collections.abc import Collection

from tfrs_twotower.errors import did_you_mean

_MOST_COMPARED = 50_000
"""Ids that an unknown one is compared with by their letters, which takes a second."""


def plain_id(text: str) -> str:
    """An id without what tools add to it, so that ids which mean the same can be recognised.

    Whole numbers lose `.0`, exponents and leading zeros; others lose blanks around them, quotes,
    Python's `b'...'` and capitals.
    """
    stripped = text.strip()
    wrapped = re.fullmatch(r"b?(['\"])(.*)\1", stripped, re.DOTALL)
    inner = wrapped[2].strip() if wrapped else stripped
    if re.fullmatch(r"[+-]?\d{1,40}(\.\d*)?([eE]\+?\d{1,2})?", inner):
        try:
            if "." not in inner and "e" not in inner.lower():
                return str(int(inner))
            if float(inner).is_integer():
                return str(int(float(inner)))
        except (ValueError, OverflowError):
            pass
    return inner.casefold()


def did_you_mean_id(unknown: str, known: Collection[str]) -> str:
    """The hint that a message adds to an unknown id: one that means the same, or a similar one.

    Args:
        unknown: the id that is not known.
        known: all ids; of more than 50,000 only one that means the same is named.
    """
    plain = plain_id(unknown)
    same = next((other for other in known if plain_id(other) == plain), None)
    if same is not None:
        return f" (did you mean '{same}'?)"
    return did_you_mean(unknown, known) if len(known) <= _MOST_COMPARED else ""
