"""Finds out in which encoding a text file is written; a guess is never taken silently.

A byte order mark, or the NUL bytes of UTF-16 without one, leave no doubt. Bytes that are no UTF-8
do: then `charset-normalizer` guesses, and the caller decides whether a guess is good enough.
"""

import codecs
import re
from typing import IO, NamedTuple

from tfrs_twotower.tables.files import DAMAGE, MalformedTable

_HEAD_BYTES = 1 << 18
_PIECE_BYTES = 1 << 12
_LINE_END = re.compile(b"[\r\n]")
_LONGEST_LINE = 1 << 24
_LEAST_NUL_SHARE = 0.3
_FEWEST_BROKEN_LINES = 2
_LIKE_CHAOS = 0.02
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY = (
    (b"PK\x03\x04", "a zip archive, such as an Excel workbook", "Save it as CSV in UTF-8."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save it as CSV in UTF-8."),
    (b"PAR1", "a Parquet file", "Set `format: parquet`, or name it .parquet."),
    (b"SQLite format 3", "an SQLite database", "Export its tables as CSV."),
)
# What tables are found in besides Unicode.
_GUESSED = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "shift_jis", "gb18030"),
    *("euc_kr", "euc_jp", "big5", "koi8_r"),
]
UNDECODABLE = "\udcff"
"""Stands for bytes that an encoding cannot decode; decoding itself never produces it."""
MARK = "tfrs_twotower.tables.mark"
"""Name of the handler of decoding errors that puts `UNDECODABLE` where bytes are broken, so that
quoting and line numbers stay right and only the record with the broken bytes is lost."""


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNDECODABLE, error.end


codecs.register_error(MARK, _mark)


class Head(NamedTuple):
    """The first bytes of a file, at least its first line."""

    data: bytes
    complete: bool
    """Whether this is the whole file."""

    def text(self, encoding: str) -> str:
        """Decodes the bytes, without a byte order mark and without a character that is cut."""
        decoder = codecs.getincrementaldecoder(encoding)(MARK)
        return decoder.decode(self.data, final=self.complete).removeprefix("\ufeff")


def read_head(stream: IO[bytes]) -> Head:
    """Reads enough of a file to see its form; less if it cannot be read further."""
    data, piece = bytearray(), b""
    read = getattr(stream, "read1", stream.read)  # what is there, before an error that follows
    try:
        while (piece := read(_PIECE_BYTES)) and len(data) < _HEAD_BYTES:
            data += piece
        if piece and not _LINE_END.search(data):
            data += piece + stream.readline(_LONGEST_LINE)
    except DAMAGE:
        if not data:
            raise
        return Head(bytes(data), complete=False)
    return Head(bytes(data), complete=not piece)


class Encoding(NamedTuple):
    """The encoding of a file."""

    name: str
    certain: bool
    """False for a guess."""
    broken_lines: tuple[int, ...] = ()
    """Numbers of the lines that are no UTF-8 although the file is read as such."""


def find_encoding(head: Head, declared: str | None, *, header: bool = True) -> Encoding:
    """The encoding that the spec declares, or that the first bytes show.

    Args:
        head: the first bytes.
        declared: the spec's `encoding`; a byte order mark is believed before it.
        header: whether the first line names the columns, so that it must not be broken.

    Raises:
        MalformedTable: the file is no text.
    """
    for magic, what, advice in _BINARY:
        if head.data.startswith(magic):
            raise MalformedTable(f"it is {what}, expected text. {advice}")
    for mark, name in _BYTE_ORDER_MARKS:
        if head.data.startswith(mark):
            return Encoding(name, certain=True)
    if declared is not None:
        return Encoding(declared, certain=True)
    for place, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        nuls, others = (head.data[at::2].count(0) for at in (place, 1 - place))
        has_line_end = any(end.encode(name) in head.data for end in "\r\n")
        if has_line_end and nuls > max(_LEAST_NUL_SHARE * len(head.data) / 2, 10 * others):
            return Encoding(name, certain=True)
    lines = re.split("\r\n|\r|\n", head.text("utf-8"))
    broken = tuple(at for at, line in enumerate(lines, 1) if UNDECODABLE in line)
    sound = sum(1 for line in lines if not line.isascii() and UNDECODABLE not in line)
    many = len(broken) >= _FEWEST_BROKEN_LINES and len(broken) > sound
    if not many and not (header and 1 in broken):
        return Encoding("utf-8", certain=True, broken_lines=broken)
    return Encoding(_guess(head.data), certain=False, broken_lines=broken)


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    telling = b"\n".join(line for line in data.splitlines() if not line.isascii())
    found = from_bytes(telling, cp_isolation=_GUESSED, threshold=0.6)
    best = found.best()
    # Where the letters do not tell Western from Central European, the commoner one is likelier.
    likely = [one for one in found if best and one.chaos <= best.chaos + _LIKE_CHAOS]
    if best is None or any(
        "cp1252" in (one.encoding, *one.could_be_from_charset) for one in likely
    ):
        return "cp1252"
    return best.encoding


def refuse_guess(encoding: Encoding, *, by_option: bool = True) -> None:
    """Refuses a file whose encoding can only be guessed.

    Args:
        encoding: what was found.
        by_option: whether an option can say the encoding.

    Raises:
        MalformedTable: it names the guess, and the option.
    """
    if encoding.certain:
        return
    lines, name = encoding.broken_lines, encoding.name
    where = ", ".join(map(str, lines[:3])) + (", ..." if len(lines) > 3 else "")
    many = len(lines) > 1
    option = f"write `encoding: {name}` for the table in the feature spec, or "
    raise MalformedTable(
        f"the file is not UTF-8 (line{'s' if many else ''} {where}); it looks like {name}. If it "
        f"is, {option if by_option else ''}convert it with `iconv -f {name} -t UTF-8`."
        + (" With `encoding: utf-8` its broken records are left out." if by_option else "")
    )
