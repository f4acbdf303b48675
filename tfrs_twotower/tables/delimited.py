"""Reads delimited text strictly: a quote that never closes is an error, not the rest of the file.

Bad records come out one by one, with the reason; text that would change which records there are
ends the reading, with the line and the column where it begins.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any

from tfrs_twotower.tables import text_forms
from tfrs_twotower.tables.encodings import MARK, UNDECODABLE
from tfrs_twotower.tables.files import MalformedTable, Opener

Record = tuple[int, tuple[Any, ...] | None, str]
"""Number in the file, cells, and the reason why there are no cells, else ""."""
_CHUNK_CHARACTERS = 1 << 20
_MANY_LINES = 20
_EXCERPT_LINES = 1000
_LEAST_SHARE = 0.8
_NUMBERS, _LETTERS = re.compile(r"[+-]?\d+([.,:]\d+)*"), re.compile(r"[^\W\d_]+")
_LONGEST_SHAPE = 40
_NO_QUOTING = (
    "Close the quote, or write a quote inside quotes twice; if nothing is quoted in the file, "
    'write `quote: ""` for the table in the feature spec.'
)


@dataclass
class FileNotes:
    """What is worth saying about a file that was read, although its records are used."""

    long_fields: int = 0
    longest: tuple[int, str] = (0, "")
    """Number of lines, and the place."""
    padded_ids: int = 0
    first_padded: tuple[int, str] = (0, "")
    """Position and place."""
    repaired: int = 0
    first_repaired: str = ""

    def note_padded(self, position: int, place: str) -> None:
        """Notes an id with blanks around it."""
        self.first_padded = self.first_padded if self.padded_ids else (position, place)
        self.padded_ids += 1

    def note_repaired(self, place: str) -> None:
        """Notes a record whose text had half of a surrogate pair."""
        self.repaired += 1
        self.first_repaired = self.first_repaired or place

    def said(self) -> list[str]:
        """Sentences; none if there is nothing to say."""
        sentences = []
        if self.long_fields:
            lines, place = self.longest
            sentences.append(
                f"{place} spans {lines} lines"
                + (f", and {self.long_fields - 1} more are long" if self.long_fields > 1 else "")
                + ": is a quote missing?"
            )
        if self.padded_ids:
            sentences.append(padded_ids(self.padded_ids, self.first_padded[1]))
        if self.repaired:
            sentences.append(
                f"{self.repaired:,} records have text with half of a surrogate pair, the first in "
                f"{self.first_repaired}; it is read as U+FFFD"
            )
        return sentences


def padded_ids(number: int, place: str) -> str:
    """The sentence on ids with blanks around them, the first of them at a place."""
    return f"{number:,} ids have blanks around them, the first in {place}; they are read without"


@contextmanager
def open_text(open_bytes: Opener, encoding: str) -> Iterator[IO[str]]:
    """The text of a file with its own line ends; `UNDECODABLE` stands for broken bytes."""
    with (
        open_bytes() as stream,
        io.TextIOWrapper(stream, encoding, errors=MARK, newline="") as text,
    ):
        yield text


def problem_of(text: str, encoding: str = "utf-8") -> str:
    """Why text cannot be used: broken bytes, or NUL characters; else ""."""
    if "\0" in text:
        return "holds a NUL character"
    if text.isascii():
        return ""
    if UNDECODABLE in text:
        return f"not valid {encoding.upper().removesuffix('-SIG')}"
    return ""


def read_delimited(
    path: str,
    open_bytes: Opener,
    form: text_forms.TextForm,
    columns: Sequence[str],
    notes: FileNotes,
) -> Iterator[Record]:
    """Reads some columns of one file; the cell of a column that the file lacks is None.

    Raises:
        MalformedTable: quotes make it doubtful where a record ends.
    """
    reader = _Reader(path, open_bytes, form, notes)
    at = [form.columns.index(name) if name in form.columns else None for name in columns]
    width, encoding = len(form.columns), form.encoding.name
    with open_text(open_bytes, encoding) as text:
        for line, row, reason in reader.rows(text):
            if row is None:
                yield line, None, reason
            elif len(row) != width:
                yield line, None, f"has another number of fields than the header's {width}"
            else:
                values = tuple([None if place is None else row[place] for place in at])
                problem = problem_of("".join([value for value in values if value]), encoding)
                yield line, None if problem else values, problem


class _Reader:
    def __init__(
        self, path: str, open_bytes: Opener, form: text_forms.TextForm, notes: FileNotes
    ) -> None:
        self._path = path
        self._open_bytes = open_bytes
        self._form = form
        self._notes = notes

    def rows(self, text: IO[str]) -> Iterator[tuple[int, list[str] | None, str]]:
        """Line, fields and problem of each record after the header."""
        names = list(self._form.columns)
        header = self._form.has_header
        for line, row, reason in self._all_rows(text):
            if row is not None and text_forms.is_blank(row, len(names)):
                continue
            if header:
                header = False
                continue
            if row is None or row[-1].strip() != names[-1] or not self._is_header(row):
                yield line, row, reason
            elif self._form.has_header:
                yield line, None, "repeats the header"
            else:
                raise MalformedTable(
                    f"{self._path}:{line}: holds the names in `columns`, so the file has a header. "
                    "Leave `columns` out of the feature spec."
                )

    def _is_header(self, row: list[str]) -> bool:
        """Whether a record repeats the names, as in files that were joined."""
        return [cell.strip("\ufeff \t") for cell in row] == list(self._form.columns)

    def _all_rows(self, text: IO[str]) -> Iterator[tuple[int, list[str] | None, str]]:
        """As long as no field begins with a quote, every line is a record, however it is quoted."""
        done = int(self._form.names_delimiter)
        for _ in range(done):
            text.readline()
        chunks = iter(lambda: text.readlines(_CHUNK_CHARACTERS), [])
        for chunk in chunks:
            if self._form.quoting is None and text_forms.opens_with_quote(self._form, chunk):
                following = next(chunks, [])
                settled = text_forms.settle_quoting(self._form, chunk, complete=not following)
                self._form = replace(settled, quoting=settled.quoting or "doubled")
                chunk = chunk + following
            if self._form.quoting is not None:
                lines = itertools.chain(chunk, itertools.chain.from_iterable(chunks))
                yield from self._parsed(lines, done)
                return
            yield from self._parsed(chunk, done)
            done += len(chunk)

    def _parsed(
        self, lines: Iterable[str], done: int
    ) -> Iterator[tuple[int, list[str] | None, str]]:
        rows = text_forms.rows_of(lines, self._form, self._form.quoting)
        taken = 0
        while True:
            first = done + taken + 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as cause:
                last = done + rows.line_num
                if last > first or "end of data" in str(cause):
                    raise self._doubtful_end(first, last, str(cause)) from cause
                yield first, None, f"not CSV: {cause}"
            else:
                if rows.line_num - taken > 1:
                    self._check_long(first, row)
                yield first, row, ""
            taken = rows.line_num

    def _doubtful_end(self, first: int, last: int, cause: str) -> MalformedTable:
        """The error for a record whose quotes end in the wrong place or nowhere."""
        with open_text(self._open_bytes, self._form.encoding.name) as text:
            record = list(itertools.islice(text, first - 1, min(last, first + _EXCERPT_LINES)))
        (row,) = itertools.islice(
            text_forms.rows_of(record, self._form, self._form.quoting, strict=False), 1
        )
        never = "end of data" in cause or "field limit" in cause
        column = next((at for at, cell in enumerate(row) if _lines_of(cell)), len(row) - 1)
        if never:
            column = len(row) - 1
        line = first + sum(_lines_of(cell) for cell in row[:column])
        ends = (
            "is not closed before the file ends"
            if "end of data" in cause
            else "is not closed for 16 MB"
            if never
            else f"meets text after a closing quote in line {last}"
        )
        return MalformedTable(
            f"{self._path}:{line}: the quoted field that begins here, in {self._named(column)}, "
            f"{ends}, so the records from line {line} on are lost in it. {_NO_QUOTING}"
        )

    def _check_long(self, first: int, row: list[str]) -> None:
        """Refuses a field that swallows records, and notes one that spans many lines."""
        line = first
        for column, cell in enumerate(row):
            breaks = _lines_of(cell)
            if breaks and not self._form.quote_is_declared and self._swallows(row, column):
                raise MalformedTable(
                    f"{self._path}:{line}: the quoted field that begins here, in "
                    f"{self._named(column)}, spans {breaks + 1} lines that look like records: a "
                    f"quote is missing or too much. {_NO_QUOTING} If the field is meant so, write "
                    f"`quote: '{self._form.quote}'` there."
                )
            if breaks >= _MANY_LINES:
                place = f"{self._path}:{line}: the field in {self._named(column)}"
                self._notes.long_fields += 1
                self._notes.longest = max(self._notes.longest, (breaks + 1, place))
            line += breaks

    def _swallows(self, row: list[str], column: int) -> bool:
        """Whether the lines of a field are the end of a record, records, and the start of one.

        That is what a stray quote swallows up to the next one. The numbers and ids of records have
        the shape of this record's; prose does not.
        """
        width = len(self._form.columns)
        if len(row) != width:
            return False
        lines = re.split("\r\n|\r|\n", row[column])
        expected = [_shape(cell) if at != column else "" for at, cell in enumerate(row)]
        spans = [(column, width), *[(0, width)] * (len(lines) - 2), (0, column + 1)]
        alike = [
            _is_like(cells, expected[start:end])
            for (start, end), cells in zip(
                spans, text_forms.rows_of(lines, self._form, "none", strict=False), strict=False
            )
        ]
        seen = [one for one in alike if one is not None]
        return any(seen) and sum(seen) >= _LEAST_SHARE * len(seen)

    def _named(self, column: int) -> str:
        names = self._form.columns
        if column < len(names) and names[column]:
            return f"column '{names[column]}'"
        return f"column {column + 1}"


def _lines_of(cell: str) -> int:
    """Number of line ends in a cell."""
    return len(re.findall("\r\n|\r|\n", cell)) if "\n" in cell or "\r" in cell else 0


def _is_like(cells: Sequence[str], expected: Sequence[str]) -> bool | None:
    """Whether the numbers and ids among some cells have the expected shapes; None if none has."""
    if len(cells) != len(expected):
        return False
    shapes = [(_shape(cell), shape) for cell, shape in zip(cells, expected, strict=True)]
    compared = [found == shape for found, shape in shapes if found and "0" in shape]
    return all(compared) if compared else None


def _shape(cell: str) -> str:
    """The cell with one `0` for each number and one `a` for each run of letters; "" if long."""
    if len(cell) > _LONGEST_SHAPE:
        return ""
    return _LETTERS.sub("a", _NUMBERS.sub("0", cell))
