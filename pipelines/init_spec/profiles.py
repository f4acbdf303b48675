"""Profiles of columns: what a name says, and what the values in a sample look like."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from pipelines.transforms import cell_forms
from pipelines.transforms.cells import (
    as_calendar_time,
    as_event_time,
    as_number,
    as_text,
    as_values,
)
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
_LEAST_SHARE_OF_LISTS = 0.5
_LEAST_SHARE_OF_MARKS = 0.003
"""Of the letters: English has one in thousands, Spanish and German one in fifty."""
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
    list_format: str | None = None
    """Format of lists that are written as text; `present` then has the lists."""
    number_format: str | None = None
    """Format of numbers with currency signs, thousands or a decimal comma."""
    missing_words: tuple[str, ...] = ()
    """Words for no value, such as `nan`; they are not among the present cells."""

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

    @property
    def has_accents(self) -> bool:
        """Whether letters have marks often enough that words would merge without them."""
        text = unicodedata.normalize("NFD", "".join(map(as_text, self.present[:_NUM_PROBED])))
        letters = sum(map(str.isalpha, text))
        marks = sum(unicodedata.category(character) == "Mn" for character in text)
        return marks >= max(1.0, _LEAST_SHARE_OF_MARKS * letters)


Profiles = Mapping[str, Profile]
"""Profiles by the names of their columns."""


def profile_column(name: str, cells: list[Any]) -> Profile:
    """Profiles the cells of a column."""
    words = {c for c in cells if isinstance(c, str) and c in cell_forms.MISSING_WORDS}
    profile = _profile_present(
        name,
        len(cells),
        [
            cell
            for cell in cells
            if cell is not None and cell != [] and not (isinstance(cell, str) and cell in words)
        ],
    )
    return replace(profile, missing_words=tuple(sorted(words)))


def _profile_present(name: str, num_records: int, present: list[Any]) -> Profile:
    if not present:
        return Profile(name, num_records, [], Counter(), [], None, "nothing", None)
    if any(isinstance(cell, dict) for cell in present):
        return Profile(name, num_records, present, Counter(), [], None, "objects", None)
    list_format = _list_format(present)
    if list_format is not None:
        lists = [cell for cell in (_as_list(cell, list_format) for cell in present) if cell]
        return Profile(
            name, num_records, lists, Counter(), [], None, "lists", None, list_format=list_format
        )
    if any(isinstance(cell, list) for cell in present):
        flat = all(not isinstance(item, dict | list) for cell in present for item in _items(cell))
        holds: Literal["lists", "objects"] = "lists" if flat else "objects"
        return Profile(name, num_records, present, Counter(), [], None, holds, None)
    numbers, number_format = _numbers(present), None
    if not numbers and all(isinstance(cell, str) for cell in present):
        number_format = _number_format(present)
        numbers = [as_number(cell, number_format) for cell in present] if number_format else []
    return Profile(
        name=name,
        num_records=num_records,
        present=present,
        counts=Counter(_text(cell) for cell in present),
        numbers=numbers,
        time_unit=_time_unit(name, present),
        holds="values",
        separator=None if number_format else _separator(present),
        number_format=number_format,
    )


def _list_format(present: list[Any]) -> str | None:
    """The format that reads most cells, if at least half of them are lists written as text."""
    probe = [cell for cell in present[:_NUM_PROBED] if isinstance(cell, str)]
    formats = [cell_forms.list_formats_of(cell) for cell in probe]
    least = max(1.0, _LEAST_SHARE_OF_LISTS * len(present[:_NUM_PROBED]))
    if sum(map(bool, formats)) < least or not any(map(cell_forms.is_list, probe)):
        return None
    return Counter(name for of_cell in formats for name in of_cell).most_common(1)[0][0]


def _as_list(cell: Any, list_format: str) -> list[str]:
    try:
        return list(as_values(cell, "|", 1 << 16, list_format))
    except RecordError:
        return []


def _number_format(present: list[str]) -> str | None:
    for number_format in ("point", "comma"):
        if all(number_format in cell_forms.number_formats_of(cell) for cell in present):
            return number_format
    return None


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
        # A date may be of any year; a number is only a time if it is one of our days.
        read = as_calendar_time if unit == "iso" else as_event_time
        good = sum(_accepts(lambda cell, r=read, u=unit: r(cell, u), cell) for cell in probe)  # type: ignore[misc]
        if good >= _LEAST_SHARE_OF_TIMES * len(probe):
            return unit
    return None


def _separator(present: list[Any]) -> str | None:
    probe = [cell for cell in present[:_NUM_PROBED] if isinstance(cell, str)]
    for separator in cell_forms.SEPARATORS:
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
