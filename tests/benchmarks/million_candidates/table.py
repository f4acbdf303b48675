"""The figures as Markdown."""

from typing import Any

_COLUMNS = (
    ("overlap@100", "overlap", ".3f"),
    ("final@100", "final_overlap", ".3f"),
    ("p50 ms", "p50_ms", ".2f"),
    ("p99 ms", "p99_ms", ".2f"),
    ("p50 ms, NumPy", "numpy_p50_ms", ".2f"),
    ("queries/s", "per_second", ",.0f"),
    ("batch 32: p50 ms", "batch_p50_ms", ".1f"),
    ("queries/s", "batch_per_second", ",.0f"),
    ("of the best peer", "of_best_peer", ".2f"),
    ("its batches", "batch_of_best_peer", ".2f"),
    ("index MB", "index_mb", ",.0f"),
    ("heads MB", "heads_mb", ",.0f"),
    ("build s", "build_s", ",.0f"),
    ("load s", "load_s", ".1f"),
)

_PARTS = ("empty call", "search alone", "retrieval", "heads alone", "pre-ranking")


def render(found: dict[str, Any]) -> str:
    """What was measured, for people."""
    lines = [_line(["", *(title for title, _, _ in _COLUMNS)])]
    lines.append(_line(["---", *("---:" for _ in _COLUMNS)]))
    for name, facts in found["systems"].items():
        cells = [_cell(facts.get(key), form) for _, key, form in _COLUMNS]
        lines.append(_line([name, *cells]))
    lines += ["", f"Best peer: {found['best_peer'] or 'none is installed'}.", ""]
    lines += [_line(["ms, p50", *_PARTS]), _line(["---", *("---:" for _ in _PARTS)])]
    for name, parts in found["parts"].items():
        lines.append(_line([name, *(_cell(parts.get(part), ".2f") for part in _PARTS)]))
    lines += ["", _line(["asked for", "found", "at most"]), _line(["---", "---:", "---:"])]
    for what, (value, limit) in found["targets"].items():
        lines.append(_line([what, _cell(value, ".3f"), format(limit, "g")]))
    return "\n".join(lines) + "\n"


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
