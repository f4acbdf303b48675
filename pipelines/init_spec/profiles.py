"""Profiles of columns: what the values in a sample look like."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from pipelines.init_spec.cell_meanings import BIRTH_DATES, Meaning, meaning_of
from pipelines.init_spec.personal_cells import Records
from pipelines.init_spec.times import TimeUnit, WrittenTimes, are_births, find_times
from pipelines.transforms import cell_forms
from pipelines.transforms.cells import as_number, as_text, as_values
from tfrs_twotower.errors import RecordError

_LEAST_SHARE_OF_LISTS = 0.5
_LEAST_SHARE_OF_MARKS = 0.003
"""Of the letters: English has one in thousands, Spanish and German one in fifty."""
_MOST_BAD = 0.01
"""Share of cells that may be no numbers among numbers, as in preprocessing."""
_MOST_PLACEHOLDERS = 0.2
_FEW_WORDS = 3
_ZERO_DATE = re.compile(r"0{2,4}[-./]00[-./]0{2,4}.*|0{4}-?00-?00.*")
_NUM_PROBED = 2000
_LEAST_SHARE_OF_MARKUP = 0.02
_PATH_SEPARATORS = (">", "\u00bb", "\u203a", "/", "\\", "::")
"""Between the steps of a path, such as `Home > Garden > Tools`."""
_LEAST_SPLIT = {"|": 0.02, ";": 0.05, ">": 0.05, "\u00bb": 0.05, "\u203a": 0.05}
"""Share of the cells that must have a separator, which is 0.2 where texts have it as well."""


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
    times: WrittenTimes | None
    """How the times are written that the column holds; None if it does not hold times."""
    holds: Literal["values", "lists", "objects", "nothing"]
    separator: str | None
    """Separator of several values in one string; None if cells hold one value."""
    list_format: str | None = None
    """Format of lists that are written as text; `present` then has the lists."""
    number_format: str | None = None
    """Format of numbers with currency signs, thousands or a decimal comma."""
    missing_words: tuple[str, ...] = ()
    """Words for no value, such as `nan`; they are not among the present cells."""
    meaning: Meaning | None = None
    """What the values are, beyond numbers or text."""
    has_markup: bool = False
    """Whether texts have tags or entities of HTML."""

    @property
    def time_unit(self) -> TimeUnit | None:
        """Unit of the times that the column holds; None if it does not hold times."""
        return self.times.unit if self.times else None

    @property
    def is_code(self) -> bool:
        """Whether the values are no quantities even where they are digits."""
        return self.meaning is not None and self.meaning.is_code

    @property
    def is_opaque(self) -> bool:
        """Whether there is nothing to learn from the values: addresses, links, names of people."""
        return self.meaning is not None and self.meaning.opaque

    @property
    def texts(self) -> list[str]:
        """The first values as text, without markup."""
        texts = map(_text, self.present[:_NUM_PROBED])
        return [cell_forms.plain_text(text) if self.has_markup else text for text in texts]

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
        return sorted(len(text.split()) for text in self.texts)

    @property
    def has_accents(self) -> bool:
        """Whether letters have marks often enough that words would merge without them."""
        text = unicodedata.normalize("NFD", "".join(self.texts))
        letters = sum(map(str.isalpha, text))
        marks = sum(unicodedata.category(character) == "Mn" for character in text)
        return marks >= max(1.0, _LEAST_SHARE_OF_MARKS * letters)


Profiles = Mapping[str, Profile]
"""Profiles by the names of their columns."""


def profile_column(name: str, cells: list[Any], *, of: Records = "things") -> Profile:
    """Profiles the cells of a column; `of` as in `meaning_of`."""
    words = {c for c in cells if isinstance(c, str) and c in cell_forms.MISSING_WORDS}
    present = [
        cell
        for cell in cells
        if cell is not None and cell != [] and not (isinstance(cell, str) and cell in words)
    ]
    profile = _profile_present(name, len(cells), present, of)
    placeholders = _placeholders(profile)
    if placeholders:
        rest = [cell for cell in present if cell not in placeholders]
        without = _profile_present(name, len(cells), rest, of)
        if (without.numbers and not without.is_code) or without.times:
            words, profile = words | placeholders, without
    return replace(profile, missing_words=tuple(sorted(words)))


def _placeholders(profile: Profile) -> set[str]:
    """Words that stand where others have a number or time: `-`, `auf Anfrage`, `0000-00-00`."""
    if profile.numbers or profile.times or profile.holds != "values":
        return set()
    found = {
        text: number
        for text, number in profile.counts.items()
        if _ZERO_DATE.fullmatch(text) or not any(map(str.isdigit, text))
    }
    share = sum(found.values()) / len(profile.present)
    return set(found) if 0 < share <= _MOST_PLACEHOLDERS and len(found) <= _FEW_WORDS else set()


def _profile_present(name: str, num_records: int, present: list[Any], of: Records) -> Profile:
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
        items = [_text(item) for cell in present[:_NUM_PROBED] for item in _items(cell) if flat]
        meaning = meaning_of(name, [item for item in items if item], of=of)
        return Profile(
            name, num_records, present, Counter(), [], None, holds, None, meaning=meaning
        )
    numbers, number_format = _numbers(present, "plain"), None
    if not numbers and all(isinstance(cell, str) for cell in present):
        number_format = _number_format(present)
        numbers = _numbers(present, number_format) if number_format else []
    times = find_times(name, present)
    profile = Profile(
        name=name,
        num_records=num_records,
        present=present,
        counts=Counter(_text(cell) for cell in present),
        numbers=numbers,
        times=times,
        holds="values",
        separator=None,
        number_format=number_format,
    )
    if times is not None:
        births = are_births(name, present, times.unit, of)
        return replace(profile, meaning=BIRTH_DATES if births else None)
    texts = [_text(cell) for cell in present[:_NUM_PROBED]]
    meaning = meaning_of(name, texts, of=of)
    simple = bool(numbers) or meaning is not None
    marked = 0 if numbers else sum(map(cell_forms.has_markup, texts))
    has_markup = marked >= max(2, _LEAST_SHARE_OF_MARKUP * len(texts))
    separator = None if simple or has_markup else _separator(texts)
    return replace(profile, meaning=meaning, separator=separator, has_markup=has_markup)


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
    probe = present[:_NUM_PROBED]
    formats = [cell_forms.number_formats_of(cell) for cell in probe]
    for number_format in ("point", "comma"):
        fits = sum(number_format in of_cell for of_cell in formats)
        if fits and fits >= (1 - _MOST_BAD) * len(probe):
            return number_format
    return None


def _items(cell: Any) -> list[Any]:
    return cell if isinstance(cell, list) else [cell]


def _text(cell: Any) -> str:
    try:
        return as_text(cell)
    except RecordError:
        return ""


def _numbers(present: list[Any], number_format: str) -> list[float]:
    """The values if all of them, but for a few bad cells, are numbers."""
    if any(isinstance(cell, bool | date | bytes) for cell in present):
        return []
    numbers: list[float] = []
    bad = 0
    for cell in present:
        try:
            numbers.append(as_number(cell, number_format))
        except RecordError:
            bad += 1
            if bad > _MOST_BAD * len(present):
                return []
    return [number for number in numbers if not math.isnan(number)]


def _separator(probe: Sequence[str]) -> str | None:
    if sum(map(_has_decimal_comma, probe)) > 0.5 * len(probe):
        return None
    for separator in (*cell_forms.SEPARATORS, *_PATH_SEPARATORS):
        split = [[part.strip() for part in cell.split(separator)] for cell in probe]
        several = sum(len(parts) > 1 for parts in split)
        if several >= max(2, _LEAST_SPLIT.get(separator, 0.2) * len(probe)) and _recur(split):
            return separator
    return None


def _has_decimal_comma(text: str) -> bool:
    return re.search(r"\d,\d", text) is not None and text.count(",") == 1


def _recur(split: Sequence[Sequence[str]]) -> bool:
    """Whether parts are tags, which recur and are short; commas in prose separate others."""
    parts = Counter(part for value in split for part in value if part)
    total = sum(parts.values())
    recurring = total > 0 and len(parts) <= max(3, 0.3 * total)
    return recurring and sum(len(part.split()) * n for part, n in parts.items()) <= 3 * total
