"""Figures as inline SVG whose colours and fonts are the page's own.

A figure is drawn in placeholder colours; in the SVG each becomes a CSS variable of the page, so
that one picture serves light and dark.
"""

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any
from zlib import crc32

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tfrs_twotower.evaluation.systems import label

MODEL_STAGES = ("cascade", "retrieval")
SYSTEM_ORDER = (
    *MODEL_STAGES,
    "hybrid",
    "rdlae",
    "recent_ease",
    "ease",
    "ials",
    "item_knn",
    "bm25",
    "recent_popularity",
    "popularity",
)
_OTHERS = tuple(f"other_{place}" for place in range(1, 9))
_NAMES = ("ink", "muted", "grid", "paper", "queries", "candidates", *SYSTEM_ORDER, *_OTHERS)
COLOUR = {name: f"#{place + 1:02x}{place + 1:02x}fe" for place, name in enumerate(_NAMES)}
_DASHES: dict[str, str | tuple[int, tuple[int, ...]]] = {
    "cascade": "-",
    "retrieval": "-",
    "hybrid": (0, (6, 2)),
    "rdlae": (0, (5, 1)),
    "recent_ease": (0, (5, 1, 1, 1)),
    "ease": (0, (4, 2)),
    "ials": (0, (3, 2, 1, 2, 1, 2)),
    "item_knn": (0, (4, 2, 1, 2)),
    "bm25": (0, (3, 1)),
    "recent_popularity": (0, (1, 2)),
    "popularity": (0, (1, 1)),
}
_MARKERS = dict(zip(SYSTEM_ORDER, "poDh*s<^vPX", strict=True))
_LABEL_LENGTH = 28
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tfrs-twotower",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": COLOUR["ink"],
    "axes.edgecolor": COLOUR["grid"],
    "axes.labelcolor": COLOUR["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": COLOUR["grid"],
    "grid.linewidth": 0.7,
    "xtick.color": COLOUR["grid"],
    "ytick.color": COLOUR["grid"],
    "xtick.labelcolor": COLOUR["muted"],
    "ytick.labelcolor": COLOUR["muted"],
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


@contextmanager
def style() -> Iterator[None]:
    """The report's style for the figures made inside."""
    with matplotlib.rc_context(_STYLE):
        yield


def _key(system: str) -> str:
    """Name of a system's colour; systems that the report does not know share a few."""
    return system if system in SYSTEM_ORDER else _OTHERS[crc32(system.encode()) % len(_OTHERS)]


def variable(system: str) -> str:
    """The CSS variable of a system's colour."""
    return f"--{_key(system).replace('_', '-')}"


def colour_of(system: str) -> str:
    """Placeholder colour of a system."""
    return COLOUR[_key(system)]


def dashes_of(system: str) -> str | tuple[int, tuple[int, ...]]:
    """Pattern of a system's line."""
    known = SYSTEM_ORDER[2:]
    return _DASHES.get(system) or _DASHES[known[crc32(system.encode()) % len(known)]]


def marker_of(system: str) -> str:
    """Shape of a system's points."""
    return _MARKERS.get(system) or "vP<>dH"[crc32(system.encode()) % 6]


def in_order(systems: Iterable[str]) -> list[str]:
    """The systems in the order of pictures: the model, then baselines, then unknown ones."""
    known = {name: place for place, name in enumerate(SYSTEM_ORDER)}
    return sorted(systems, key=lambda name: known.get(name, len(known)))


def name_of(system: str) -> str:
    """A system's name in a picture, cut where it would take the room of the picture."""
    name = label(system)
    return name if len(name) <= _LABEL_LENGTH else name[: _LABEL_LENGTH - 1].rstrip() + "…"


def columns_of(names: Iterable[str], room: int = 120) -> int:
    """Columns of a legend whose lines have room for so many characters; its rows are as equal."""
    widths = [len(name) + 5 for name in names]
    if sum(widths) <= room:
        return max(1, len(widths))
    rows = -(-len(widths) // max(1, room // max(widths)))
    return -(-len(widths) // rows)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of that size in inches, with one set of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def to_svg(figure: Figure, description: str) -> str:
    """The figure as an `<svg>` element without ids, fonts, colours or links of its own.

    Args:
        figure: drawn inside `style()`.
        description: text for screen readers.
    """
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font: (?:\w+ )*([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    # Pictures of one page share shapes, but an id stands once in a page.
    own = f"{crc32(text.encode()):08x}"
    text = re.sub(r'(\bid="|url\(#|href="#)([^")]+)', rf"\1\2-{own}", text)
    for name, placeholder in COLOUR.items():
        text = text.replace(placeholder, f"var(--{name.replace('_', '-')})")
    width, height = re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2]
    opening = (
        f'<svg role="img" aria-label="{escape(description)}" viewBox="0 0 {width} {height}" '
        f'style="max-width: {float(width) * 4 / 3:.0f}px"'
    )
    text = re.sub(r"<svg[^>]*?(?=>)", opening, text, count=1)
    return re.sub(r"\n\s*\n", "\n", text)
