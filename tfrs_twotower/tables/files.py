"""Finds the files that a user's path names, and opens them whatever they are compressed with.

A path is a file, a directory as Spark and Hive write them, or a glob. A name that exists is taken
as it is, even if it holds characters of a glob. Inside directories and globs, names that begin
with `_` or `.` are bookkeeping (`_SUCCESS`, `.part-0.crc`) and no data.
"""

import bz2
import glob
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, cast
from urllib.parse import unquote

_HIDDEN = ("_", ".")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_GZIP, _ZSTD, _XZ, _BZ2 = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh"
_BZ2_BLOCK = b"1AY&SY"
_LONGEST_MAGIC = 10
COMPRESSIONS = (".gz", ".bz2", ".zst", ".zstd", ".xz")
"""Suffixes of compressed files; their first bytes decide how they are read."""
DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError),
    *(zlib.error, lzma.LZMAError),
)
"""What reading a file that is cut off or damaged raises."""
Opener = Callable[[], AbstractContextManager[IO[bytes]]]
"""Opens one file from its start, decompressed."""


class UnreadableFile(Exception):
    """The rest of a file cannot be read, because it is cut off or damaged."""

    remedy = "Check the file: it may have been cut off while it was written or copied."


class MalformedTable(UnreadableFile):
    """The text of a file is not a table; the message says where, and what to do."""

    remedy = ""


@contextmanager
def malformed_in(path: str) -> Iterator[None]:
    """Names the file in the errors of functions that do not know it."""
    try:
        yield
    except MalformedTable as cause:
        raise MalformedTable(f"{path}: {cause}") from cause


@contextmanager
def unreadable_as_such(path: str, *more: type[Exception]) -> Iterator[None]:
    """Turns the errors of damaged files, and more kinds of errors, into `UnreadableFile`."""
    try:
        yield
    except UnreadableFile:
        raise
    except (*DAMAGE, *more) as cause:
        raise UnreadableFile(f"{path}: cannot be read to its end: {cause}") from cause


def find_local_files(root: Path, path: str) -> tuple[str, ...]:
    """The data files of a path, sorted by name; none if nothing matches.

    Args:
        root: directory where a relative path starts.
        path: a file, a directory, or a glob; `~` is the home directory.
    """
    path = os.path.expanduser(path)
    literal = os.path.join(root, path)
    if os.path.exists(literal):
        found = [literal]
    else:
        matches = glob.glob(path, root_dir=root, recursive=True)
        found = [os.path.join(root, match) for match in without_hidden(matches, path)]
    files: set[str] = set()
    for name in found:
        if os.path.isdir(name):
            inside = glob.glob("**", root_dir=name, recursive=True)
            below = (os.path.join(name, one) for one in without_hidden(inside, ""))
            files.update(one for one in below if os.path.isfile(one))
        else:
            files.add(name)
    return tuple(sorted(files))


def without_hidden(names: list[str], pattern: str) -> list[str]:
    """The names that no `_` or `.` hides, unless the pattern itself begins a part with it."""
    parts = pattern.split("/")
    allowed = tuple({part[0] for part in parts if part.startswith(_HIDDEN)})
    return [
        name
        for name in names
        if not any(
            part.startswith(_HIDDEN) and not part.startswith(allowed)
            for part in name.split("/")
            if part not in parts
        )
    ]


def partition_values(path: str) -> dict[str, str | None]:
    """The columns in the directories of a path, such as `day` in `day=2024-05-31/part-0.csv`."""
    values: dict[str, str | None] = {}
    for part in path.split("/")[:-1]:
        name, equals, value = part.partition("=")
        if name and equals:
            values[unquote(name)] = None if value == _NO_VALUE else unquote(value)
    return values


@contextmanager
def open_local(path: str) -> Iterator[IO[bytes]]:
    """Opens a file of this machine, decompressed."""
    with open(path, "rb") as raw, decompressed(raw) as stream:
        yield stream


@contextmanager
def decompressed(raw: IO[bytes]) -> Iterator[IO[bytes]]:
    """The content of a stream that can seek; its first bytes tell how it is compressed."""
    head = raw.read(_LONGEST_MAGIC)
    raw.seek(0)
    if head.startswith(_GZIP):
        with gzip.open(raw) as unzipped:
            yield cast(IO[bytes], unzipped)
    elif head.startswith(_BZ2) and head[4:] == _BZ2_BLOCK:
        with bz2.open(raw) as unpacked:
            yield cast(IO[bytes], unpacked)
    elif head.startswith(_XZ):
        with lzma.open(raw) as expanded:
            yield cast(IO[bytes], expanded)
    elif head.startswith(_ZSTD):
        import pyarrow as pa

        inflated = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
        with io.BufferedReader(inflated) as stream:
            yield stream
    else:
        yield raw
