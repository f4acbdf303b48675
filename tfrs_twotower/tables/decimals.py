"""Numbers with a decimal comma, such as `1.234,50`."""

import re
from collections.abc import Sequence

_LEAST_SHARE = 0.9
_GROUP = "[.'\u2019\u00a0\u202f ]"
_WHOLE = rf"[+-]?(?:\d{{1,3}}(?:{_GROUP}\d{{3}})+|\d+)"
_COMMA = re.compile(rf"{_WHOLE},\d+(?:[eE][+-]?\d+)?")
_INTEGER = re.compile(_WHOLE)
_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")
_GROUPS = re.compile(_GROUP)


def from_decimal_comma(text: str) -> str:
    """Writes a number with a decimal point and without separators of thousands.

    Text that is no such number comes back as it is.

    Raises:
        ValueError: the number has a decimal point.
    """
    number = text.strip()
    if _COMMA.fullmatch(number) or _INTEGER.fullmatch(number):
        return _GROUPS.sub("", number).replace(",", ".")
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
