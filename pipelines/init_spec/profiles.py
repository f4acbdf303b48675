"""Profiles of columns: what a name says, and what the values in a sample look like."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from pipelines.transforms.cells import as_event_time, as_number, as_text
from tfrs_twotower.errors import RecordError
from tfrs_twotower.specs.declarations import RESERVED_NAMES

_ID_WORDS = frozenset(
    {"id", "ids", "key", "code", "no", "nr", "num", "number", "uuid", "uid", "pk"}
)
_LONGEST_NAME = 64
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
TimeUnit = Literal["s", "ms", "us", "iso"]
"""Unit of a column of times; `iso` is text in ISO 8601, or a date type."""
TIME_HINTS = (
    "time",
    "date",
    "datetime",
    "timestamp",
    "ts",
    "at",
    "when",
    "created",
    "day",
    "epoch",
)
"""Words in the names of columns that hold times."""
_SEPARATORS = ("|", ";", ",")
_LEAST_SHARE_OF_TIMES = 0.95
_NUM_PROBED = 2000


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
    name = name[: _LONGEST_NAME - 4]
    number, unique = 1, name
    while unique in taken or unique in RESERVED_NAMES:
        number += 1
        unique = f"{name}_{number}"
    return unique


@dataclass(frozen=True)
class Profile:
    """One column of a sample."""

    name: str
    num_records: int
    present: list[Any]
    """Cells that are not missing."""
    counts: Counter[str]
    """Number of occurrences of each value, as text; empty for lists and objects."""
    numbers: list[float]
    """The values if all of them are numbers; otherwise empty."""
    time_unit: TimeUnit | None
    """Unit of the times that the column holds; None if it does not hold times."""
    holds: Literal["values", "lists", "objects", "nothing"]
    separator: str | None
    """Separator of several values in one string; None if cells hold one value."""

    @property
    def distinct(self) -> int:
        """Number of distinct values."""
        return len(self.counts)

    @property
    def uniqueness(self) -> float:
        """Number of distinct values divided by the number of values, 0 to 1."""
        return self.distinct / len(self.present) if self.present else 0.0

    @property
    def missing(self) -> float:
        """Share of records without a value, 0 to 1."""
        return 1 - len(self.present) / self.num_records if self.num_records else 1.0

    @property
    def whole_numbers(self) -> bool:
        """Whether all values are integers."""
        return bool(self.numbers) and all(number.is_integer() for number in self.numbers)

    @property
    def words(self) -> list[int]:
        """Numbers of words in each of the first values, sorted."""
        return sorted(len(as_text(cell).split()) for cell in self.present[:_NUM_PROBED])


Profiles = Mapping[str, Profile]
"""Profiles by the names of their columns."""


def profile_column(name: str, cells: list[Any]) -> Profile:
    """Profiles the cells of a column."""
    present = [cell for cell in cells if cell is not None and cell != []]
    if not present:
        return Profile(name, len(cells), [], Counter(), [], None, "nothing", None)
    if any(isinstance(cell, dict) for cell in present):
        return Profile(name, len(cells), present, Counter(), [], None, "objects", None)
    if any(isinstance(cell, list) for cell in present):
        flat = all(not isinstance(item, dict | list) for cell in present for item in _items(cell))
        holds: Literal["lists", "objects"] = "lists" if flat else "objects"
        return Profile(name, len(cells), present, Counter(), [], None, holds, None)
    counts = Counter(_text(cell) for cell in present)
    return Profile(
        name=name,
        num_records=len(cells),
        present=present,
        counts=counts,
        numbers=_numbers(present),
        time_unit=_time_unit(name, present),
        holds="values",
        separator=_separator(present),
    )


def _items(cell: Any) -> list[Any]:
    return cell if isinstance(cell, list) else [cell]


def _text(cell: Any) -> str:
    try:
        return as_text(cell)
    except RecordError:
        return ""


def _accepts(function: Callable[[Any], object], cell: Any) -> bool:
    try:
        function(cell)
    except RecordError:
        return False
    return True


def _numbers(present: list[Any]) -> list[float]:
    if any(isinstance(cell, bool | date | bytes) for cell in present):
        return []
    if not all(_accepts(as_number, cell) for cell in present[:_NUM_PROBED]):
        return []
    try:
        numbers = [as_number(cell) for cell in present]
    except RecordError:
        return []
    return [number for number in numbers if not math.isnan(number)]


def _time_unit(name: str, present: list[Any]) -> TimeUnit | None:
    probe = present[:_NUM_PROBED]
    units: tuple[TimeUnit, ...] = ("s", "ms", "us")
    if all(isinstance(cell, date) for cell in probe):
        return "iso"
    if all(isinstance(cell, str) and not cell.strip().lstrip("-").isdecimal() for cell in probe):
        units = ("iso",)
    elif not mentions(name, TIME_HINTS):
        return None  # large integers are ids more often than times
    for unit in units:
        good = sum(_accepts(lambda cell, u=unit: as_event_time(cell, u), cell) for cell in probe)  # type: ignore[misc]
        if good >= _LEAST_SHARE_OF_TIMES * len(probe):
            return unit
    return None


def _separator(present: list[Any]) -> str | None:
    probe = [cell for cell in present[:_NUM_PROBED] if isinstance(cell, str)]
    for separator in _SEPARATORS:
        split = [[part.strip() for part in cell.split(separator)] for cell in probe]
        several = sum(len(parts) > 1 for parts in split)
        parts = Counter(part for value in split for part in value if part)
        total = sum(parts.values())
        # Tags recur and are short; commas in prose separate parts that do not recur.
        recurring = total > 0 and len(parts) <= max(3, 0.3 * total)
        short = total > 0 and sum(len(part.split()) * n for part, n in parts.items()) <= 3 * total
        if several >= max(2, 0.2 * len(probe)) and recurring and short:
            return separator
    return None
