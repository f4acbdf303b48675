"""What the first line of a text table gives away when the table is not of the form it should be."""

from collections.abc import Sequence
from typing import IO

from tfrs_twotower.specs.tables import TableFormat

_LONGEST_HEAD = 1 << 16
_MARKS = ((b"\xff\xfe", "FF FE"), (b"\xfe\xff", "FE FF"))
_CONVERT = "Save it as UTF-8, for example with `iconv -f {encoding} -t UTF-8`."
_SEPARATORS = {"csv": (";", "\t", "|"), "tsv": (",", ";", "|")}
_IN_WORDS = {"\t": "tabs", ",": "commas"}


def explain_encoding(stream: IO[bytes]) -> str:
    """Why a text file that begins so is not UTF-8, and what to do; "" where nothing is wrong.

    UTF-16 is told by its byte order mark, or by NUL bytes in the first line.
    """
    head = stream.readline(_LONGEST_HEAD)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return (
                f"the file is not UTF-8: it begins with the byte order mark {name} of UTF-16. "
                + _CONVERT.format(encoding="UTF-16")
            )
    if b"\0" in head:
        return (
            "the file is not UTF-8: its first line holds NUL bytes, as UTF-16 without a byte order "
            "mark (or a binary file) does. "
            + _CONVERT.format(encoding="UTF-16BE" if head.startswith(b"\0") else "UTF-16LE")
        )
    return ""


def explain_header(table: str, header: Sequence[str], file_format: TableFormat) -> str:
    """Why the columns of a file may not be found, and what to do; "" if that cannot be told."""
    if any("\udc80" <= character <= "\udcff" for name in header for character in name):
        return "The header is not UTF-8. " + _CONVERT.format(encoding="WINDOWS-1252")
    if len(header) != 1:
        return ""
    for separator in _SEPARATORS.get(file_format, ()):
        if separator in header[0]:
            found = _IN_WORDS.get(separator, f"`{separator}`")
            expected = "commas" if file_format == "csv" else "tabs"
            return (
                f"The columns seem to be separated by {found}, not by {expected}: "
                + _what_to_do(table, separator)
            )
    return ""


def _what_to_do(table: str, separator: str) -> str:
    formats = {"\t": "tsv", ",": "csv"}
    if separator in formats:
        name = formats[separator]
        return f"rename the file to .{name}, or set {table}.format: {name} in the feature spec."
    return (
        "write the file with commas (and a text that holds one in quotes), or with tabs and the "
        "name .tsv."
    )
