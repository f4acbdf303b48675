"""The form of a delimited text file, the fields of its lines, and how it is quoted.

Quotes may show first anywhere in a file, so their meaning is decided at the first line that has
one; the rest of the form shows in the first lines (`sniffing`).
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from tfrs_twotower.tables.encodings import UNDECODABLE, Encoding
from tfrs_twotower.tables.files import MalformedTable

Quoting = Literal["doubled", "escaped", "none"]
"""How a quote inside quotes is written: twice, or after a backslash; `none`: nothing is quoted."""
BLANKS = " "
"""The delimiter that stands for any run of blanks and tabs."""
_LONGEST_FIELD = 1 << 24
_LONGEST_OPEN_RECORD = 100


class Declared(NamedTuple):
    """What a spec says about the form of a text file; None where it leaves that to the file."""

    delimiter: str | None = None
    quote: str | None = None
    """"" for a file without quoting."""
    decimal: str | None = None
    encoding: str | None = None
    columns: tuple[str, ...] | None = None
    """Names of the columns of a file without a header."""


@dataclass(frozen=True)
class TextForm:
    """How one delimited text file is written."""

    encoding: Encoding
    delimiter: str
    columns: tuple[str, ...] = ()
    """Names from the header, or declared ones; () if the file is empty."""
    has_header: bool = True
    quote: str = '"'
    quoting: Quoting | None = None
    """None as long as no field of the file began with a quote."""
    quote_is_declared: bool = False
    may_be_unquoted: bool = False
    """Whether a quote at the start of a field may be text: in .tsv files without `quote`."""
    blank_after: bool = False
    """Whether a blank follows each delimiter."""
    decimal: str = "."
    names_delimiter: bool = False
    """Whether the first line is Excel's `sep=;`, which names the delimiter and is no record."""
    invented: tuple[str, ...] = ()
    """Names for the columns if the first line looks like a record; else ()."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the spec that say what was found and is not the default."""


class _SplitRows:
    """The fields of lines whose delimiter is several characters, or any run of blanks and tabs."""

    def __init__(self, lines: Iterable[str], delimiter: str) -> None:
        self.line_num = 0
        self._lines = iter(lines)
        self._delimiter = delimiter

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        line = next(self._lines).rstrip("\r\n")
        self.line_num += 1
        if self._delimiter == BLANKS:
            line = line.strip(" \t")
            return re.split("[ \t]+", line) if line else []
        return line.split(self._delimiter)


def rows_of(
    lines: Iterable[str], form: TextForm, quoting: Quoting | None, *, strict: bool = True
) -> Any:
    """The fields of each record of some lines: an iterator with `line_num`, as `csv.reader`.

    A record that breaks the rules of quoting raises `csv.Error` if they are strict; the next record
    then begins with the next line.
    """
    if len(form.delimiter) > 1 or form.delimiter == BLANKS:
        return _SplitRows(lines, form.delimiter)
    csv.field_size_limit(_LONGEST_FIELD)
    return csv.reader(
        lines,
        delimiter=form.delimiter,
        quoting=csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL,
        quotechar=form.quote,
        doublequote=quoting != "escaped",
        escapechar="\\" if quoting == "escaped" else None,
        skipinitialspace=form.blank_after,
        strict=strict,
    )


def is_blank(row: Sequence[str], width: int) -> bool:
    """Whether a record is only an empty line."""
    return not row or (len(row) == 1 and width != 1 and not row[0].strip())


def check_names(names: Sequence[str]) -> None:
    """Refuses names of columns that occur twice; unnamed columns may.

    Raises:
        MalformedTable: a name occurs twice.
    """
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        shown = twice.replace(UNDECODABLE, "\ufffd")
        raise MalformedTable(
            f"the column '{shown}' stands twice in the header: {', '.join(names)}. Rename one, or "
            "remove it."
        )


def opens_with_quote(form: TextForm, lines: Sequence[str]) -> bool:
    """Whether a field of these lines begins with a quote."""
    text = "".join(lines)
    if form.quote not in text:
        return False
    start = f"(?:^|{re.escape(form.delimiter)}){' ?' if form.blank_after else ''}"
    return re.search(f"{start}{re.escape(form.quote)}", text, re.MULTILINE) is not None


def settle_quoting(form: TextForm, lines: Sequence[str], *, complete: bool) -> TextForm:
    """Decides how a file is quoted from lines that begin with a record, if they tell.

    Args:
        form: its delimiter and columns are known.
        lines: some lines.
        complete: whether no line follows; otherwise the last record may still be open.
    """
    plain_only = len(form.delimiter) > 1 or form.delimiter == BLANKS
    if form.quoting is not None or plain_only or not opens_with_quote(form, lines):
        return form
    ways: list[Quoting] = ["doubled"]
    if any(f"\\{form.quote}" in line for line in lines):
        ways.append("escaped")
    misfits = {way: _misfits(form, way, lines, complete) for way in ways}
    best = min(ways, key=lambda way: misfits[way])
    if form.may_be_unquoted:
        unquoted = _misfits(form, "none", lines, complete)
        if unquoted < misfits[best] or (
            unquoted == misfits[best] and not _looks_quoted(form, lines)
        ):
            best = "none"
    return replace(form, quoting=best)


def _misfits(form: TextForm, quoting: Quoting, lines: Sequence[str], complete: bool) -> int:
    """Number of lines of records that do not fit the header if the file were quoted this way."""
    rows, width, misfits, done = rows_of(lines, form, quoting), len(form.columns), 0, 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return misfits
        except csv.Error as cause:
            taken = rows.line_num - done
            still_open = not complete and "end of data" in str(cause)
            misfits += 0 if still_open and taken <= _LONGEST_OPEN_RECORD else taken
        else:
            if len(row) != width and not is_blank(row, width):
                misfits += rows.line_num - done
        done = rows.line_num


def _looks_quoted(form: TextForm, lines: Sequence[str]) -> bool:
    """Whether quotes around whole fields are quoting where they might be text as well.

    They are if a quote inside is written twice, or if the header or a column has them all along.
    """
    plain = rows_of(lines, form, "none", strict=False)
    rows = [row for row in plain if len(row) == len(form.columns)]

    def is_wrapped(cell: str) -> bool:
        return len(cell) > 1 and cell[0] == cell[-1] == form.quote

    if any(is_wrapped(cell) and form.quote * 2 in cell[1:-1] for row in rows for cell in row):
        return True
    if form.has_header and all(map(is_wrapped, rows[0] if rows else [""])):
        return True
    columns = (
        [cell for cell in column if cell] for column in zip(*rows[form.has_header :], strict=True)
    )
    return any(len(filled) > 1 and all(map(is_wrapped, filled)) for filled in columns)
