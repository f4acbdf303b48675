"""A public data set: its name and licence, its checked source files, and its tables."""

import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrs_twotower.artifacts import sha256_file
from tfrs_twotower.errors import DataError

LARGEST_ARCHIVE = 4 * 1024**3


@dataclass(frozen=True)
class About:
    """Name, licence and origin of a data set."""

    name: str
    """Name on the command line, with hyphens."""
    licence: str
    """Licence, or the terms of use."""
    attribution: str
    """Attribution that its licence or custom asks for."""
    layout: str
    """The files that `--source` must hold, in words."""
    home: str = ""
    """Where the publisher offers them."""

    @property
    def directory(self) -> str:
        """Name of the output directory, the feature spec and the run config."""
        return self.name.replace("-", "_")


def cache_directory() -> Path:
    """The directory of downloads: `twotower` under `$XDG_CACHE_HOME`, by default `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "twotower"


def require_source(source: Path | None, about: About) -> Path:
    """The directory that the user named.

    Raises:
        DataError: the user named no directory.
    """
    if source is None:
        raise DataError(
            f"dataset {about.name}: no source given, and this set is not downloaded for you. "
            f"Get it from {about.home or 'its publisher'} and add --source PATH, the archive as it "
            f"is or a directory with {about.layout}."
        )
    if not source.is_dir():
        actual = "a file" if source.is_file() else "nothing"
        raise DataError(
            f"--source {source}: found {actual}, expected a zip archive or a directory with "
            f"{about.layout}."
        )
    return source


@contextmanager
def unpacked(source: Path | None) -> Iterator[Path | None]:
    """Gives the directory in which a zip archive is unpacked; anything else as it is.

    An Excel workbook is a zip archive too, but its own one: it is left as it is.

    Raises:
        DataError: the archive is damaged, or unpacks to more than `LARGEST_ARCHIVE` bytes.
    """
    if source is None or not source.is_file() or not zipfile.is_zipfile(source):
        yield source
        return
    try:
        with zipfile.ZipFile(source) as archive, tempfile.TemporaryDirectory() as directory:
            if "[Content_Types].xml" in archive.namelist():
                yield source
                return
            size = sum(member.file_size for member in archive.infolist())
            if size > LARGEST_ARCHIVE:
                raise DataError(
                    f"--source {source}: unpacks to {size:,} bytes, allowed are at most "
                    f"{LARGEST_ARCHIVE:,}. Unpack it yourself, and name the directory."
                )
            archive.extractall(directory)  # never outside of the directory: zipfile sees to it
            yield Path(directory)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as cause:
        raise DataError(
            f"--source {source}: this zip archive cannot be unpacked: {cause}. Get it again."
        ) from cause


def directories_of(source: Path) -> list[Path]:
    """`source` and its subdirectories: archives often unpack into a directory of their own."""
    return [source, *sorted(path for path in source.iterdir() if path.is_dir())]


def locate(source: Path | None, names: Sequence[str], about: About) -> dict[str, Path]:
    """Finds all files in `source`, or all of them in one of its subdirectories.

    Raises:
        DataError: the user named no directory, or a file is missing.
    """
    source = require_source(source, about)
    for directory in directories_of(source):
        if all((directory / name).is_file() for name in names):
            return {name: directory / name for name in names}
    missing = [name for name in names if not (source / name).is_file()]
    present = sorted(path.name for path in source.iterdir())[:8]
    raise DataError(
        f"--source {source}: missing {', '.join(missing)} "
        f"(found {', '.join(present) or 'nothing'}). "
        f"It must hold {about.layout}{about.home and '; get it from ' + about.home}."
    )


def checksums(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of each file, by its name."""
    return {name: sha256_file(path) for name, path in files.items()}


def check_sha256(path: Path, expected: str, remedy: str) -> str:
    """Compares a file with its pinned checksum.

    Args:
        path: the file.
        expected: hex SHA-256.
        remedy: what the user can do if they differ.

    Returns:
        The checksum.

    Raises:
        DataError: they differ.
    """
    actual = sha256_file(path)
    if actual != expected:
        raise DataError(f"{path}: sha256 is {actual}, expected {expected}. {remedy}")
    return actual


def read_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """The lines of a text file without line ends, numbered from 1.

    Raises:
        DataError: the file is not text in this encoding.
    """
    try:
        with path.open(encoding=encoding, newline="\n") as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as cause:
        raise DataError(
            f"{path}: is not {encoding} text ({cause}). Unpack the original archive again."
        ) from cause


def read_fields(
    path: Path, separator: str, num_fields: int, encoding: str = "utf-8"
) -> Iterator[list[str]]:
    """The fields of each line of a separated file without a header or quoting.

    Raises:
        DataError: a line has another number of fields.
    """
    for number, line in read_lines(path, encoding):
        fields = line.split(separator)
        if len(fields) != num_fields:
            raise DataError(
                f"{path}:{number}: found {len(fields)} fields, expected {num_fields} separated by "
                f"{separator!r}. Unpack the original archive again."
            )
        yield fields


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
