"""What the seeds left on disk, and the three files of their comparison."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.comparing.executing import Cell
from pipelines.stages import workdir as timings
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.artifacts.layout import EVALUATION
from tfrs_twotower.evaluation.comparison_document import RunResult, SeedResult, compare_runs
from tfrs_twotower.evaluation.comparison_markdown import comparison_markdown
from tfrs_twotower.evaluation.comparison_page import render_comparison
from tfrs_twotower.evaluation.per_query import PER_QUERY, read_per_query
from tfrs_twotower.evaluation.strict_json import write_json

DOCUMENT, MARKDOWN, PAGE = "comparison.json", "comparison.md", "index.html"


def compare_cells(cells: Sequence[Cell], root: Path) -> dict[str, Any]:
    """Reads every seed's report and compares the runs.

    Raises:
        ComparisonError: the seeds of a run were judged on different data.
        CorruptArtifact: a report cannot be read.
    """
    by_run: dict[str, list[Cell]] = {}
    for cell in cells:
        by_run.setdefault(cell.run.name, []).append(cell)
    return compare_runs(
        [
            RunResult(
                name=name,
                label=found[0].run.label,
                config=found[0].run.config,
                directory=found[0].directory.relative_to(root).as_posix(),
                baselines_of=found[0].run.baselines_of,
                seeds=tuple(_read(cell) for cell in found),
            )
            for name, found in by_run.items()
        ]
    )


def write_comparison(document: dict[str, Any], root: Path) -> None:
    """Writes `comparison.json`, `comparison.md` and `index.html`, each whole or not at all."""
    partial = {name: root / f".{name}.partial" for name in (DOCUMENT, MARKDOWN, PAGE)}
    write_json(partial[DOCUMENT], document)
    partial[MARKDOWN].write_text(comparison_markdown(document), encoding="utf-8")
    partial[PAGE].write_text(render_comparison(document), encoding="utf-8")
    for name, path in partial.items():
        path.replace(root / name)


def _read(cell: Cell) -> SeedResult:
    report = Layout(cell.workdir).report
    return SeedResult(
        json.loads((report / EVALUATION).read_text(encoding="utf-8")),
        read_per_query(report / PER_QUERY),
        timings.read(cell.workdir),
    )
