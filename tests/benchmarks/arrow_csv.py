"""Arrow's CSV reader for the first records of a table, against Python's (decision 0023).

    python -m tests.benchmarks.arrow_csv

Both read small random tables, and the first 100,000 records of a large one in a process of its own.
Arrow's blocks must hold the longest record, 16 MB as `init` allows; small blocks show what happens
at their borders, and how processes end that leave the table early, a hundred times each.
"""

import argparse
import csv
import io
import itertools
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow import csv as arrow

_LIMIT = 100_000
_TABLES = 5_000
_PROCESSES = 20
_EARLY_RECORDS, _EARLY_READS, _EARLY_BLOCK, _TIMEOUT_S = 1_000, 100, 10_000, 20
_LARGE_BLOCK, _SMALL_BLOCK = 1 << 24, 100
Columns = dict[str, list[str]]


def read_python(data: BinaryIO, limit: int) -> Columns:
    """The first records whose number of fields is the header's, by column."""
    rows = csv.reader(io.TextIOWrapper(data, "utf-8-sig", newline=""))
    header = next(rows)
    kept = [row for row in itertools.islice(rows, limit) if len(row) == len(header)]
    return {name: [row[at] for row in kept] for at, name in enumerate(header)}


def read_arrow(data: BinaryIO, limit: int, block: int) -> Columns:
    """The same with Arrow; `block` is in bytes."""
    read = arrow.ReadOptions(block_size=block)
    parse = arrow.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip")
    names = arrow.open_csv(pa.BufferReader(data.readline()), read, parse).schema.names
    data.seek(0)
    text = arrow.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    batches: list[pa.RecordBatch] = []
    with arrow.open_csv(data, read, parse, text) as table:
        for batch in table:
            batches.append(batch.slice(0, limit))
            limit -= batches[-1].num_rows
            if not limit:
                break
    return pa.Table.from_batches(batches, table.schema).to_pydict()


def _compare(block: int) -> str:
    chance = random.Random(0)
    found = Counter[str]()
    for _ in range(_TABLES):
        body = "".join(chance.choices('ab,"\n\r', k=200))
        data = f"x,y\n{body}\n".encode()
        expected = read_python(io.BytesIO(data), _LIMIT)
        try:
            actual = read_arrow(io.BytesIO(data), _LIMIT, block)
        except pa.ArrowInvalid:
            found["refused"] += 1
        else:
            found["the same" if actual == expected else "other cells"] += 1
    return ", ".join(f"{number:,} {what}" for what, number in found.most_common())


def _run(path: Path, *, limit: int, block: int, reads: int = 1) -> str:
    """What a process of its own prints, or how it ended."""
    command = [sys.executable, "-m", __spec__.name, str(path), f"{limit}", f"{block}", f"{reads}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return "did not end"
    return f"ended with code {done.returncode}" if done.returncode else done.stdout.strip()


def _read(path: Path, limit: int, block: int, reads: int) -> str:
    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    before, started = peak(), time.perf_counter()
    for _ in range(reads):
        with path.open("rb") as data:
            columns = read_arrow(data, limit, block) if block else read_python(data, limit)
    return (
        f"{time.perf_counter() - started:.2f} s, {peak() - before:.0f} MB, {len(columns)} columns"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares, and prints what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("child", nargs="*", help=argparse.SUPPRESS)
    child = parser.parse_args(arguments).child
    if child:
        path, *numbers = child
        sys.stdout.write(_read(Path(path), *map(int, numbers)) + "\n")
        return
    lines = [
        f"{_TABLES:,} tables, in one block: {_compare(_LARGE_BLOCK)}",
        f"{_TABLES:,} tables, in blocks of {_SMALL_BLOCK} bytes: {_compare(_SMALL_BLOCK)}",
    ]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "large.csv"
        with path.open("w") as stream:
            stream.write("query,candidate,time,title\n")
            for number in range(2_000_000):
                ragged = "" if number % 50 else ",one,too,many"
                stream.write(f'{number % 997},{number},{number},"a ""title"""{ragged}\n')
        for name, block in (("Python", 0), ("Arrow", _LARGE_BLOCK)):
            lines.append(f"{_LIMIT:,} records, {name}: {_run(path, limit=_LIMIT, block=block)}")
        ends = Counter(
            _run(path, limit=_EARLY_RECORDS, block=_EARLY_BLOCK, reads=_EARLY_READS)
            for _ in range(_PROCESSES)
        )
        bad = {end: number for end, number in ends.items() if "columns" not in end}
        lines.append(f"{_PROCESSES} processes that leave the table early: {bad or 'all end well'}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
