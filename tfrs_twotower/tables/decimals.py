"""Numbers as text, with a decimal point or comma and thousands set apart, such as `1.234,50`."""

import re
from collections.abc import Sequence
from typing import Literal

NumberFormat = Literal["point", "comma"]
BLANK = r"[ \u00a0\u202f\u2009]"
SIGN = "[+\u2212-]"
MINUS = "\u2212"
_MARKS: dict[NumberFormat, tuple[str, str]] = {"point": (",", "."), "comma": (".", ",")}
_EXPONENT = r"(?:[eE][+-]?\d+)?"
_LEAST_SHARE = 0.9


def _whole(number_format: NumberFormat) -> str:
    thousands = (re.escape(_MARKS[number_format][0]), BLANK, "['\u2019]")
    grouped = "|".join(rf"\d{{1,3}}(?:{mark}\d{{3}})+" for mark in thousands)
    return rf"(?:{grouped}|\d+)"


def digits_of(number_format: NumberFormat) -> str:
    """The pattern of a number without sign, currency or percent sign."""
    decimal = re.escape(_MARKS[number_format][1])
    return rf"(?:{_whole(number_format)}(?:{decimal}\d*)?|{decimal}\d+){_EXPONENT}"


def as_float_reads(sign: str, digits: str, number_format: NumberFormat) -> str:
    """A sign and what matches `digits_of` as Python's `float` reads them."""
    decimal = _MARKS[number_format][1]
    kept = "".join(mark for mark in digits if mark.isdigit() or mark in "eE+-" or mark == decimal)
    return f"{sign.replace(MINUS, '-')}{kept.replace(decimal, '.')}"


_NUMBER = re.compile(rf"({SIGN}?)({digits_of('comma')})")
_COMMA = re.compile(rf"{SIGN}?{_whole('comma')},\d+{_EXPONENT}")
_INTEGER = re.compile(rf"{SIGN}?{_whole('comma')}")
_POINT = re.compile(rf"{SIGN}?\d*\.\d+{_EXPONENT}")


def from_decimal_comma(text: str) -> str:
    """Writes a number with a decimal point and without separators of thousands.

    Text that is no such number comes back as it is, also a number with a currency: that is for
    `format: comma` of a feature to read.

    Raises:
        ValueError: the number has a decimal point.
    """
    number = text.strip()
    if match := _NUMBER.fullmatch(number):
        return as_float_reads(match[1], match[2], "comma")
    if _POINT.fullmatch(number):
        raise ValueError("a number with a decimal point where decimal: ',' is expected")
    return text


def writes_decimal_commas(rows: Sequence[Sequence[str]]) -> bool:
    """Whether some column of numbers surely has decimal commas, and none has decimal points.

    `1,5` is sure, `1,234` may be a thousand.
    """
    sure = False
    for column in zip(*rows, strict=True):
        cells = [cell.strip() for cell in column if cell.strip()]
        least = _LEAST_SHARE * len(cells)
        commas = [cell for cell in cells if _COMMA.fullmatch(cell)]
        points = [c for c in cells if _POINT.fullmatch(c) and not _INTEGER.fullmatch(c)]
        whole = sum(1 for cell in cells if _INTEGER.fullmatch(cell))
        if points and len(points) + whole >= least:
            return False
        if commas and len(commas) + whole >= least:
            sure = sure or any(len(cell.rpartition(",")[2]) != 3 for cell in commas)
    return sure
