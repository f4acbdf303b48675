"""What both pages are made with: the Jinja environment, the style, drawings inside the text."""

from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tfrs_twotower.evaluation import wording
from tfrs_twotower.evaluation.labels import label

_DIRECTORY = Path(__file__).parent


def render(template: str, **values: object) -> str:
    """A page as HTML text, with the reports' style inside.

    Args:
        template: file name of the template, beside this module.
        values: what the template names; a name that is missing is an error.
    """
    style = (_DIRECTORY / "report.css").read_text(encoding="utf-8")
    text = (_DIRECTORY / template).read_text(encoding="utf-8")
    return (
        _environment().from_string(text).render(style=Markup(style), **values)  # noqa: S704  (our own file)
    )


def inline(svg: str | None) -> Markup | None:
    """A picture for a template; None where there is nothing to draw."""
    return None if svg is None else Markup(svg)  # noqa: S704  (drawn here from numbers)


def _environment() -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent=wording.percent,
        number=wording.number,
        duration=wording.duration,
        words=wording.words,
        in_words=wording.in_words,
        window=wording.window_in_words,
        label=label,
        thousands=lambda value: f"{value:,}",
    )
    return environment
