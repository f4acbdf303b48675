"""Rendering of reports: values and names in words and figures, and pages from templates."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tfrs_twotower.evaluation.report.drawing import variable
from tfrs_twotower.evaluation.systems import label
from tfrs_twotower.evaluation.verdict import against_each, badge

_DIRECTORY = Path(__file__).parent
_DASH = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_HEADING = re.compile(r'<h2 id="([^"]+)"[^>]*>(.*?)</h2>', re.DOTALL)
_LINKS = '<ul class="links">'


@dataclass(frozen=True)
class Origin:
    """What made a page, so that a reader can make it again.

    Attributes:
        command: the command, as a line for a shell; "" where no command made it.
        documents: the files that were read, by what they are, such as `run config`.
        written: seconds since 1970; None leaves the date out.
    """

    command: str = ""
    documents: Mapping[str, str] = field(default_factory=dict)
    written: float | None = None


def words(name: object) -> str:
    """A key with spaces for underscores."""
    return str(name).replace("_", " ")


def shorten(text: str, length: int) -> str:
    """The text on one line, cut after a word with an ellipsis: titles may be whole passages."""
    words = " ".join(text.split())
    if len(words) <= length:
        return words
    cut = words[: length + 1].rpartition(" ")[0]
    return (cut or words[:length]).rstrip(" ,;:.") + "…"


def number(value: float | None, digits: int = 3) -> str:
    """A decimal with a real minus sign; a dash for no number."""
    return _DASH if value is None else f"{value:.{digits}f}".replace("-", _MINUS)


def decimal(value: float | None, digits: int = 4) -> str:
    """`.5930`, `-.0120`, `1.0000`; nothing for None."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign, `+0.034`."""
    return f"{'+' if value > 0 else ''}{number(value, digits)}"


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


def minute(epoch_seconds: float) -> str:
    """The day and the minute of a time, in UTC."""
    return datetime.fromtimestamp(epoch_seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def code(text: str) -> Markup:
    """A sentence whose parts between backticks are code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def contents(page: str) -> list[tuple[str, Markup]]:
    """The id and the text of every `<h2>` that has an id, in order."""
    return [(name, Markup(text)) for name, text in _HEADING.findall(page)]  # noqa: S704  (of ours)


def with_link(page: str, address: str, text: str) -> str:
    """A finished page with one more link to another page; the same page if it has it."""
    item = f'<li><a href="{escape(address)}">{escape(text)}</a></li>'
    return page if item in page else page.replace(_LINKS, f"{_LINKS}{item}", 1)


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
        shorten=shorten,
        signed=signed,
        minute=minute,
        contents=contents,
        code=code,
        badge=badge,
        against_each=against_each,
        system_colour=lambda system: Markup(f"--system: var({variable(system)})"),  # noqa: S704
        thousands=lambda value: f"{value:,}",
    )
    return environment
