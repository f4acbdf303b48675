"""Writes a converted set's tables, or copies tables that a feature spec reads as they are."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.datasets.sources import About, check_sha256, locate, require_source


def write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Writes rows under a header, UTF-8, never quoted: white space inside a field is one space.

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
    """Writes one JSON object a line, UTF-8.

    Returns:
        The number of records.
    """
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    return count


def copy_checked(
    source: Path | None, out: Path, expected: Mapping[str, str], about: About
) -> dict[str, str]:
    """Copies each file whose SHA-256 is as expected.

    Args:
        source: directory that the user named, or None.
        out: directory to copy into.
        expected: SHA-256 by file name.
        about: the data set, for messages.

    Returns:
        The checksums.

    Raises:
        DataError: a file is missing or differs.
    """
    files = locate(require_source(source, about), tuple(expected), about)
    remedy = "It is not the version that the results were measured on: get the original again."
    for name, path in files.items():
        check_sha256(path, expected[name], remedy)
        shutil.copyfile(path, out / name)
    return dict(expected)
