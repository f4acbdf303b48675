"""Rendering of reports: values and names in words and figures, and pages from templates."""

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_DIRECTORY = Path(__file__).parent
_DASH = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_LABELS = {
    "ease": "EASE",
    "rdlae": "RDLAE",
    "recent_ease": "recent EASE",
    "ials": "iALS",
    "item_knn": "item kNN",
    "bm25": "BM25",
}


def label(system: str) -> str:
    """`item_knn` is `item kNN`; names without an entry get spaces for underscores."""
    return _LABELS.get(system, words(system))


def words(name: object) -> str:
    """A key with spaces for underscores."""
    return str(name).replace("_", " ")


def number(value: float | None, digits: int = 3) -> str:
    """A decimal with a real minus sign; a dash for no number."""
    return _DASH if value is None else f"{value:.{digits}f}".replace("-", _MINUS)


def decimal(value: float | None, digits: int = 4) -> str:
    """`.5930`, `-.0120`, `1.0000`; nothing for None."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def probability(p: float | None) -> str:
    """`.031`, `<.001`; nothing for None."""
    return "" if p is None else "<.001" if p < 0.001 else decimal(p, 3)


def percent(value: float, digits: int = 1) -> str:
    """A fraction in percent, without the sign."""
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


def render(template: Path, **values: object) -> str:
    """A page as HTML text, with the reports' style inside.

    Args:
        template: the template's file; it extends `frame.html`.
        values: by the names that the template uses; a missing one is an error.
    """
    style = Markup((_DIRECTORY / "report.css").read_text(encoding="utf-8"))  # noqa: S704  (ours)
    environment = _environment(template.parent)
    return environment.get_template(template.name).render(style=style, **values)


def inline(svg: str | None) -> Markup | None:
    """A picture for a template; None if there is nothing to draw."""
    return None if svg is None else Markup(svg)  # noqa: S704  (drawn here from numbers)


def _environment(directory: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([directory, _DIRECTORY]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        number=number,
        duration=duration,
        words=words,
        in_words=in_words,
        window=window_in_words,
        label=label,
        thousands=lambda value: f"{value:,}",
    )
    return environment
