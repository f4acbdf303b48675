"""The notebook `docs/library.ipynb`: the manual `docs/library.md` in cells, with what they print.

`python -m tests.packaging.notebook` writes it. Code runs in this process, one cell after another in
one namespace, as in Jupyter.
"""

import contextlib
import io
import json
import os
import re
import tempfile
from typing import Any

from tests.packaging.fresh_process import ROOT

MANUAL = ROOT / "docs" / "library.md"
NOTEBOOK = ROOT / "docs" / "library.ipynb"
_CODE = re.compile(r"^```python\n(.*?)^```\n", flags=re.MULTILINE | re.DOTALL)
_LAST_SECTION = "## All names"


def snippets(markdown: str) -> list[str]:
    """The Python code of a manual, in its order."""
    return [code.rstrip("\n") for code in _CODE.findall(markdown)]


def cells_of(markdown: str) -> list[tuple[str, str]]:
    """Kind and source of each cell: text and code alternate; the list of names is left out."""
    cells = []
    for place, part in enumerate(_CODE.split(markdown.partition(_LAST_SECTION)[0])):
        if part.strip():
            cells.append(("code" if place % 2 else "markdown", part.strip("\n")))
    return cells


def run_cells(sources: list[str]) -> list[str]:
    """What each cell prints.

    Raises:
        Exception: whatever a cell raises.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for number, source in enumerate(sources, 1):
        stream = io.StringIO()
        with contextlib.redirect_stdout(stream):
            exec(compile(source, f"cell {number}", "exec"), namespace)
        printed.append(stream.getvalue())
    return printed


def notebook_of(markdown: str) -> dict[str, Any]:
    """The executed notebook, in nbformat 4.5."""
    cells = cells_of(markdown)
    printed = iter(run_cells([source for kind, source in cells if kind == "code"]))
    return {
        "cells": [_cell(number, *cell, printed) for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(number: int, kind: str, source: str, printed: Any) -> dict[str, Any]:
    cell: dict[str, Any] = {"id": f"cell-{number}", "cell_type": kind, "metadata": {}}
    cell["source"] = source.splitlines(keepends=True)
    if kind == "code":
        text = next(printed)
        stream = {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}
        cell |= {"execution_count": None, "outputs": [stream] if text else []}
    return cell


def main() -> None:
    """Writes the notebook."""
    markdown = MANUAL.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # cells write bundles below the working directory
        notebook = notebook_of(markdown)
        os.chdir(ROOT)
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
