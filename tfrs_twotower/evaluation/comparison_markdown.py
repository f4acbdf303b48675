"""`comparison.md`: the tables of a comparison for a document.

There are no durations in it, so that equal runs write equal bytes.
"""

from typing import Any

from tfrs_twotower.evaluation.comparison_rows import (
    ComparisonRow,
    comparison_rows,
    label_of,
    tested,
)
from tfrs_twotower.evaluation.labels import label
from tfrs_twotower.evaluation.wording import in_words

_SECTIONS = {
    "runs": "Further runs against {reference}",
    "stages": "Within a run, against retrieval",
    "baselines": "Against the leading baselines",
}
_FEW_SEEDS = 5


def comparison_markdown(document: dict[str, Any]) -> str:
    """All tables, one section for each data set."""
    sections = [_table(table, document) for table in document["tables"]]
    return "\n\n".join(sections) + "\n"


def decimal(value: float | None, digits: int = 4) -> str:
    """`.5930`, `-.0120`, `1.0000`; nothing for None."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def probability(p: float | None) -> str:
    """`.031`, `<.001`; nothing for None."""
    return "" if p is None else "<.001" if p < 0.001 else decimal(p, 3)


def sentence(table: dict[str, Any], num_seeds: int) -> str:
    """What the figures are, and what the p beside them asks."""
    queries, candidates = table["test_queries"], table["ranked_candidates"]
    text = f"{queries:,} test queries, {candidates:,} candidates ranked. "
    if num_seeds == 1:
        return f"{text}One seed: it says nothing about the noise of training; nothing is tested."
    text += f"Mean and, in parentheses, standard deviation over {num_seeds} seeds. "
    if table["tests"]["runs"]:
        text += (
            f"p: against {label_of(table, table['reference'])}, the larger p of a paired t-test "
            "over queries and one over seeds, after Holm's correction over the table; bold below "
            ".05."
        )
    if num_seeds < _FEW_SEEDS:
        text += f" {num_seeds} seeds are few: the test over seeds finds large differences only."
    return text.rstrip()


def _table(table: dict[str, Any], document: dict[str, Any]) -> str:
    metrics = table["metrics"]
    with_p = bool(table["tests"]["runs"]) and len(document["seeds"]) > 1
    header = ["run", "system"]
    for metric in metrics:
        header += [metric, "p"] if with_p else [metric]
    rows = [_row(row, metrics, with_p=with_p) for row in comparison_rows(table)]
    parts = [
        f"### {table['dataset']}",
        sentence(table, len(document["seeds"])),
        _grid(header, rows),
    ]
    for family, title in _SECTIONS.items():
        if table["tests"][family]:
            name = label_of(table, table["reference"])
            parts += [f"#### {title.format(reference=name)}", _tests(table, family)]
    changes = [run for run in document["runs"] if run["judged_on"] == table["judged_on"]]
    listed = [f"- {run['label']}: {_changes(run['changes'])}" for run in changes if run["changes"]]
    if listed:
        parts += [f"#### Settings that differ from {label_of(table, table['reference'])}"]
        parts += ["\n".join(listed)]
    return "\n\n".join(parts)


def _row(row: ComparisonRow, metrics: list[str], *, with_p: bool) -> list[str]:
    cells = [row.label, label(row.system)]
    for metric in metrics:
        figure = row.figures[metric]
        deviation = "" if figure["sd"] is None else f" ({decimal(figure['sd'])})"
        cells.append(f"{decimal(figure['mean'])}{deviation}")
        if with_p:
            test = row.tests.get(metric)
            p = "" if test is None else probability(test["both"]["p_holm"])
            cells.append(f"**{p}**" if test is not None and test["significant"] else p)
    return cells


def _tests(table: dict[str, Any], family: str) -> str:
    rows = []
    for a, b, entries in tested(table, family):
        cells = [a, b]
        for metric in table["metrics"]:
            entry = entries[metric]
            p = probability(entry["both"]["p_holm"])
            change = f"{'+' if entry['difference'] > 0 else ''}{decimal(entry['difference'])}"
            text = f"{change} ({p})" if p else change
            cells.append(f"**{text}**" if entry["significant"] else text)
        rows.append(cells)
    return _grid(["a", "b", *(f"{metric}: a - b (p)" for metric in table["metrics"])], rows)


def _changes(changes: dict[str, dict[str, Any]]) -> str:
    return "; ".join(
        f"`{key}` {_setting(sides, 'from')} to {_setting(sides, 'to')}"
        for key, sides in changes.items()
    )


def _setting(sides: dict[str, Any], side: str) -> str:
    if side not in sides:
        return "absent"
    value = sides[side]
    if value is None:
        return "null"
    if value == []:
        return "empty"
    return "present" if isinstance(value, dict) else in_words(value)


def _grid(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * 2 + ["---:"] * (len(header) - 2), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)
