"""Times as people and shops write them: `31.12.2025 14:05`, `12/31/2025 2:05 PM`, `1 mai 2025`.

Plain functions on text; strict, as all readers of cells are: a text that is not wholly a date with
perhaps a time of day and a zone raises `ValueError`. The order of day and month is not guessed.
"""

import re
import unicodedata
from datetime import datetime, timedelta, timezone
from typing import Literal

DateOrder = Literal["dmy", "mdy", "ymd"]
_MARK = r"(?P<mark>\. ?|[/-])"
_YEAR = r"(?P<y>\d{4}|\d{2})(?!\d)"
_WORD = r"(?P<m>[a-z]{3,10})\.?"
_GAP = r"(?: (?:de )?|[/-])"
_SHAPES = {
    "ymd": (
        rf"(?P<y>\d{{4}}){_MARK}(?P<m>\d{{1,2}})(?P=mark)(?P<d>\d{{1,2}})(?!\d)",
        r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?!\d)",
    ),
    "dmy": (
        rf"(?P<d>\d{{1,2}}){_MARK}(?P<m>\d{{1,2}})(?P=mark){_YEAR}",
        rf"(?P<d>\d{{1,2}})(?:\.|er|st|nd|rd|th)?{_GAP}{_WORD},?{_GAP}{_YEAR}",
    ),
    "mdy": (
        rf"(?P<m>\d{{1,2}}){_MARK}(?P<d>\d{{1,2}})(?P=mark){_YEAR}",
        rf"{_WORD} (?P<d>\d{{1,2}})(?:st|nd|rd|th)?,? {_YEAR}",
    ),
}
_DATES = {order: [re.compile(shape) for shape in shapes] for order, shapes in _SHAPES.items()}
_WEEKDAY = re.compile(r"[a-z]{2,10}\.?, ")
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?:[:h](?P<minute>\d{2})(?:[:.m](?P<second>\d{2})(?:[.,]\d{1,9})?)?)?"
    r"(?: ?(?P<half>[ap])\.?m\.?| ?uhr)?"
)
_ZONE = re.compile(r" ?(?:(?P<utc>z|utc|gmt)|(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?)$")
_BEFORE_CLOCK = re.compile(r"(?:, ?| um | at | a las | a |t| )")
_MONTHS = (
    ("jan", "ene", "gen"),
    ("feb", "fev"),
    ("mar", "mrz", "maer", "maa"),
    ("apr", "avr", "abr"),
    ("may", "mai", "mag", "mei"),
    ("jun", "juin", "giu"),
    ("jul", "juil", "lug"),
    ("aug", "aou", "ago"),
    ("sep", "set"),
    ("oct", "okt", "ott", "out"),
    ("nov",),
    ("dec", "dez", "dic"),
)
"""How names of months begin in English, German, French, Spanish, Italian, Dutch, Portuguese."""


def parse_local_time(text: str, order: DateOrder) -> datetime:
    """The time in a text; without a zone if it names none.

    Args:
        text: such as `31.12.2025 14:05`; two digits of a year are of 1970 to 2069, and a month may
            be a word.
        order: which of the numbers is what.

    Raises:
        ValueError: the text is not a time in this order.
    """
    plain = _plain(text)
    date = next((found for shape in _DATES[order] if (found := shape.match(plain))), None)
    if date is None:
        raise ValueError("not a date in this order")
    rest = plain[date.end() :]
    zone = _ZONE.search(rest)
    moment = datetime(_year(date["y"]), _month(date["m"]), int(date["d"]))
    if zone is not None and rest[: zone.start()]:
        moment = moment.replace(tzinfo=_offset(zone))
        rest = rest[: zone.start()]
    return moment + _time_of_day(rest)


def date_orders(text: str) -> tuple[DateOrder, ...]:
    """The orders of day and month in which a text is a time; two if it may be either."""
    orders: tuple[DateOrder, ...] = ("ymd", "dmy", "mdy")
    found = tuple(order for order in orders if _reads(text, order))
    # Nobody writes the month first between points.
    return tuple(order for order in found if order != "mdy" or "." not in text.split()[0])


def _reads(text: str, order: DateOrder) -> bool:
    try:
        parse_local_time(text, order)
    except ValueError:
        return False
    return True


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.strip().replace("ä", "ae")).lower()
    letters = "".join(mark for mark in folded if not unicodedata.combining(mark))
    return _WEEKDAY.sub("", re.sub(r"[\s\u200e\u200f]+", " ", letters), count=1)


def _month(part: str) -> int:
    if part.isdigit():
        return int(part)
    for number, names in enumerate(_MONTHS, 1):
        if part.startswith(names):
            return number
    raise ValueError("not a month")


def _year(part: str) -> int:
    if len(part) == 4:
        return int(part)
    return int(part) + (1900 if int(part) >= 70 else 2000)


def _offset(zone: re.Match[str]) -> timezone:
    if zone["utc"]:
        return timezone.utc
    offset = timedelta(hours=int(zone["hours"]), minutes=int(zone["minutes"] or 0))
    return timezone(offset if zone["sign"] == "+" else -offset)


def _time_of_day(rest: str) -> timedelta:
    if not rest:
        return timedelta()
    before = _BEFORE_CLOCK.match(rest)
    clock = _CLOCK.fullmatch(rest[before.end() :]) if before else None
    if clock is None or (clock["minute"] is None and clock["half"] is None):
        raise ValueError("not a time of day")
    hour, minute, second = (int(part or 0) for part in clock.group("hour", "minute", "second"))
    if minute > 59 or second > 60 or hour > (12 if clock["half"] else 23):
        raise ValueError("not a time of day")
    if clock["half"]:
        hour = hour % 12 + (12 if clock["half"] == "p" else 0)
    return timedelta(hours=hour, minutes=minute, seconds=second)
