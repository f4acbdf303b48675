"""The forms that cells are written in: lists and decorated numbers as text, words for no value.

Plain functions on text; a text that is not of a form raises `ValueError`. `list_formats_of` and
`number_formats_of` recognise forms, so that a column can be questioned before it is misread.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any, Literal

from tfrs_twotower.tables import decimals
from tfrs_twotower.tables.decimals import NumberFormat

ListFormat = Literal["json", "python", "postgres", "numpy"]
MISSING_WORDS = frozenset(
    ("nan", "NaN", "NAN", "NaT", "<NA>", "None", "NULL", "Null", "null", "N/A", "n/a", "#N/A")
)
"""What tools write where they have no value. A real value can be one of them."""
SEPARATORS = ("|", ";", ",")
"""What usually separates several values in one text."""

_TOKEN = re.compile(
    r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s,"'\[\]]+))\s*(?:,|(?=\s)|$|(?=["']))"""
)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'")
_NEIGHBOURS = re.compile(r"'\s*'")
_BARE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|None|nan|True|False")
_ELEMENT = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|((?:[^,"{}\\]|\\.)*))\s*(,|$)')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CURRENCIES = (
    *("AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EGP"),
    *("EUR", "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "JPY", "KES", "KRW", "MXN", "MYR", "NGN"),
    *("NOK", "NZD", "PEN", "PHP", "PLN", "RON", "RUB", "SAR", "SEK", "SGD", "THB", "TRY", "TWD"),
    *("UAH", "USD", "VND", "ZAR", "kr", "z\u0142", "K\u010d", "Rs", "Fr"),
)
_CURRENCY = rf"(?:(?:{'|'.join(_CURRENCIES)})\.?|[A-Z]{{0,2}}[$\u00a2-\u00a5\u20a0-\u20cf])"


def parse_list(text: str, list_format: ListFormat) -> list[Any]:
    """The entries of a list written as text.

    Args:
        text: `["a", "b"]` (json), `['a', 'b']` (python; also tuples and sets), `['a' 'b']` or
            `[1 2]` (numpy), `{a,b}` (postgres; also `[a, b]`).
        list_format: how it is written.

    Raises:
        ValueError: the text is not a list in this format.
    """
    entries = _PARSERS[list_format](text.strip())
    if any(isinstance(entry, list | tuple | set | dict) for entry in entries):
        raise ValueError("nested lists")
    return entries


def list_formats_of(text: str) -> tuple[ListFormat, ...]:
    """The formats that read a text as a list, such as all of them for `[]`; none if it is no list.

    NumPy's form has no commas, and Python would join its neighbouring quotes to one text;
    `postgres`, which takes any text between brackets, is only named where no other format is.
    """
    stripped = text.strip()
    if stripped[:1] not in ("[", "{", "("):
        return ()
    outside = _QUOTED.sub("'", stripped)
    strict: tuple[ListFormat, ...] = ("json", "python", "numpy")
    found = [
        list_format
        for list_format in strict
        if _reads(stripped, list_format)
        and not (list_format == "numpy" and "," in outside)
        and not (list_format == "python" and _NEIGHBOURS.search(outside))
    ]
    if found or stripped[1:].lstrip()[:1] in ("'", "[", "{"):
        return tuple(found)
    return ("postgres",) if _reads(stripped, "postgres") else ()


def is_list(text: str) -> bool:
    """Whether a text is surely a list: its quotes or numbers, or several entries, show it.

    `{5c1f}` and `[Unknown]` may be single values that have brackets.
    """
    formats = list_formats_of(text)
    if formats != ("postgres",):
        return bool(formats)
    return len(parse_list(text, "postgres")) > 1


def _reads(text: str, list_format: ListFormat) -> bool:
    try:
        parse_list(text, list_format)
    except ValueError:
        return False
    return True


def _json(text: str) -> list[Any]:
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError("not a list")
    return entries


def _python(text: str) -> list[Any]:
    try:
        entries = ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as cause:
        raise ValueError(str(cause)) from None
    if not isinstance(entries, list | tuple | set):
        raise ValueError("not a list")
    return sorted(entries, key=str) if isinstance(entries, set) else list(entries)


def _numpy(text: str) -> list[Any]:
    inner = _inside(text, "[]")
    entries: list[Any] = []
    at = 0
    while at < len(inner):
        match = _TOKEN.match(inner, at)
        if match is None or not (match[3] is None or _BARE.fullmatch(match[3])):
            raise ValueError("not entries with blanks between them")
        double, single, bare = match.groups()
        quoted = double if double is not None else single
        entries.append(bare if quoted is None else _ESCAPED.sub(r"\1", quoted))
        at = match.end()
        at += len(inner[at:]) - len(inner[at:].lstrip())
    return [None if entry in ("None", "nan") else entry for entry in entries]


def _postgres(text: str) -> list[Any]:
    inner = _inside(text, "{}" if text.startswith("{") else "[]")
    entries: list[Any] = []
    at = 0
    while inner:
        match = _ELEMENT.match(inner, at)
        if match is None:
            raise ValueError("not entries with commas between them")
        quoted, bare, mark = match.groups()
        plain = _ESCAPED.sub(r"\1", bare.strip() if quoted is None else quoted)
        entries.append(None if quoted is None and plain in ("NULL", "") else plain)
        if not mark:
            break
        at = match.end()
    return entries


def _inside(text: str, brackets: str) -> str:
    if len(text) < 2 or text[0] != brackets[0] or text[-1] != brackets[1]:
        raise ValueError(f"does not begin with {brackets[0]} and end with {brackets[1]}")
    return text[1:-1].strip()


_PARSERS: Mapping[str, Callable[[str], list[Any]]] = {
    "json": _json,
    "python": _python,
    "postgres": _postgres,
    "numpy": _numpy,
}


def _number_pattern(number_format: NumberFormat) -> re.Pattern[str]:
    digits, sign = decimals.digits_of(number_format), f"({decimals.SIGN}?)"
    blanks = f"{decimals.BLANK}*"
    return re.compile(
        rf"{sign}{blanks}{_CURRENCY}?{blanks}{sign}({digits}){blanks}(?:{_CURRENCY}|%)?"
    )


_NUMBER_FORMATS: tuple[NumberFormat, ...] = ("point", "comma")
_NUMBERS = {name: _number_pattern(name) for name in _NUMBER_FORMATS}


def plain_number(text: str, number_format: NumberFormat) -> str:
    """The number in a text, as `float` reads it: without currency, percent sign and thousands.

    Raises:
        ValueError: the text is not a number in this format.
    """
    match = _NUMBERS[number_format].fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a number with a decimal {number_format}")
    return decimals.as_float_reads(match[1] + match[2], match[3], number_format)


def number_formats_of(text: str) -> tuple[NumberFormat, ...]:
    """The formats in which a text is a number; none if it is none, two if it may be either."""
    number = text.strip()
    return tuple(name for name in _NUMBER_FORMATS if _NUMBERS[name].fullmatch(number))


_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,2000}>|<!--|&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,6});")
_INLINE = ("a", "b", "em", "font", "i", "mark", "small", "span", "strong", "sub", "sup", "u")


class _Words(HTMLParser):
    """Collects the text between tags; a tag that does not stand inside a word separates words."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._hidden += tag in ("script", "style")
        self.parts += [] if tag in _INLINE else [" "]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style") and self._hidden > 0
        self.parts += [] if tag in _INLINE else [" "]

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def has_markup(text: str) -> bool:
    """Whether a text has tags or entities of HTML."""
    return _TAG.search(text) is not None


def plain_text(text: str) -> str:
    """A text without the tags and entities of HTML, also of HTML that was escaped once more."""
    for _ in range(2):
        if not has_markup(text):
            break
        words = _Words()
        words.feed(text)
        words.close()
        text = "".join(words.parts)
    return " ".join(text.split())
