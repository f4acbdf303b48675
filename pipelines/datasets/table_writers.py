"""Writes the tables of a converted data set, record by record."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Writes rows under a header, UTF-8 and unquoted; white space in a field becomes one space.

    Returns:
        The number of rows.
    """
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write("\t".join(columns) + "\n")
        for row in rows:
            stream.write("\t".join([" ".join(str(field).split()) for field in row]) + "\n")
            count += 1
    return count


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Writes one JSON object for each line, UTF-8.

    Returns:
        The number of records.
    """
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    return count
