"""Reads the words of a column's name, and makes a feature name from it."""

import re
import unicodedata
from collections.abc import Container, Iterable

from tfrs_twotower.specs.declarations import RESERVED_NAMES

_ID_WORDS = frozenset(
    {"id", "ids", "key", "code", "no", "nr", "num", "number", "uuid", "uid", "pk"}
)
_LONGEST = 64
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")


def words_of(name: str) -> tuple[str, ...]:
    """The words of a column's name in lower case; camel case, digits and signs separate them."""
    return tuple(re.findall(r"[^\W\d_]+|\d+", _CAMEL_CASE.sub(" ", name).lower()))


def names_an_id(name: str) -> bool:
    """Whether a column with this name holds identities, such as `Customer ID`."""
    return bool(_ID_WORDS & set(words_of(name)))


def mentions(name: str, hints: Iterable[str]) -> bool:
    """Whether one of the hints is among the words of a name."""
    return bool(set(words_of(name)) & set(hints))


def subject_of(name: str) -> frozenset[str]:
    """The words of a name in the singular, without those that only mean identity."""
    return frozenset(_singular(word) for word in words_of(name) if word not in _ID_WORDS)


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def feature_name(column: str, taken: Container[str] = ()) -> str:
    """A feature name (`[a-z][a-z0-9_]*`) for a column that differs from every name in `taken`."""
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    name = "_".join(re.findall(r"[a-z0-9]+", _CAMEL_CASE.sub(" ", plain).lower())) or "column"
    if not name[0].isalpha():
        name = f"column_{name}"
    name = name[: _LONGEST - 4]
    number, unique = 1, name
    while unique in taken or unique in RESERVED_NAMES:
        number += 1
        unique = f"{name}_{number}"
    return unique
