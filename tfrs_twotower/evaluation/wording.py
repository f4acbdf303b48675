"""Values of the report in the words and figures that people read."""

from collections.abc import Mapping
from datetime import datetime, timezone

_DASH = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 3) -> str:
    """A decimal with a real minus sign; a dash for no number."""
    return _DASH if value is None else f"{value:.{digits}f}".replace("-", _MINUS)


def percent(value: float, digits: int = 1) -> str:
    """A share in percent, without the sign."""
    return number(100 * value, digits)


def duration(seconds: float) -> str:
    """`0.6 s`, `48 s`, `3 min 10 s`, `1 h 04 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def day(epoch_seconds: float) -> str:
    """The day of a time, in UTC."""
    return datetime.fromtimestamp(epoch_seconds, timezone.utc).strftime("%Y-%m-%d")


def in_words(value: object) -> str:
    """Any value of the protocol: yes and no, thousands, parts joined by commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{words(name)} {in_words(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(in_words(part) for part in value)
    return str(value)


def window_in_words(window: Mapping[str, float | None]) -> str:
    """The split's limits as days, in their order; limits that are not known are left out."""
    limits = ("train_start", "train_end", "validation_end", "test_end")
    known = [(name, window.get(name)) for name in limits]
    return ", ".join(f"{words(name)} {day(time)}" for name, time in known if time is not None)


def words(name: object) -> str:
    """A key with spaces for underscores."""
    return str(name).replace("_", " ")
