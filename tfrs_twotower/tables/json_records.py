"""Reads JSON objects strictly: one in each line, or all of them in one array.

A string that holds a NUL, or a key that stands twice, makes its record a bad one.
"""

import json
import re
from collections.abc import Container, Iterator, Sequence
from typing import IO, Any

from tfrs_twotower.tables.delimited import FileNotes, Record, open_text, problem_of
from tfrs_twotower.tables.encodings import UNDECODABLE, Head, find_encoding, refuse_guess
from tfrs_twotower.tables.files import MalformedTable, Opener

_CHUNK_CHARACTERS = 1 << 20
HALF_PAIR = "half of a surrogate pair, which is no Unicode"
_LONGEST_ELEMENT = 1 << 27
_BLANK = re.compile(r"\s*")
Numbered = tuple[int, dict[str, Any] | None, str]
"""Line or element, the object, and the reason why there is none, else ""."""


def is_array(head: Head, encoding: str) -> bool:
    """Whether a file is one array of objects, not an object in each line."""
    return re.match(r"\s*\[\s*(\{|\]|$)", head.text(encoding)) is not None


def json_encoding(
    head: Head, declared: str | None = None, *, may_guess: bool = False, by_option: bool = True
) -> str:
    """The encoding of a JSON file.

    Args:
        head: its first bytes.
        declared: what the spec says.
        may_guess: whether it may be guessed.
        by_option: whether an option can say it.

    Raises:
        MalformedTable: the file is no text, or its encoding can only be guessed and may not be.
    """
    encoding = find_encoding(head, declared, header=False)
    if not may_guess:
        refuse_guess(encoding, by_option=by_option)
    return encoding.name


def read_json_records(
    path: str,
    open_bytes: Opener,
    encoding: str,
    columns: Sequence[str],
    notes: FileNotes,
    *,
    array: bool,
    ids: Container[str] = (),
) -> Iterator[Record]:
    """Reads some keys of each object; the cell of a key that an object lacks is None.

    Half of a surrogate pair, as a text has that was cut inside an emoji, becomes U+FFFD; in an id
    it makes the record a bad one.

    Raises:
        MalformedTable: an array is not JSON to its end.
    """
    for number, record, reason in read_json_objects(path, open_bytes, encoding, array=array):
        if record is None:
            yield number, None, reason
            continue
        values = tuple([record.get(column) for column in columns])
        problem = unwritable(values)
        if problem == HALF_PAIR and not unwritable([v for c, v in record.items() if c in ids]):
            values, problem = repaired(values), ""
            notes.note_repaired(f"{path}: {'element' if array else 'line'} {number}")
        yield number, None if problem else values, problem


def repaired(value: Any) -> Any:
    """A JSON value whose strings are Unicode: half of a surrogate pair becomes U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list | tuple):
        return type(value)(map(repaired, value))
    if isinstance(value, dict):
        return {repaired(key): repaired(one) for key, one in value.items()}
    return value


def read_json_objects(
    path: str, open_bytes: Opener, encoding: str, *, array: bool
) -> Iterator[Numbered]:
    """Reads the objects of a file, whatever their keys.

    Raises:
        MalformedTable: an array is not JSON to its end.
    """
    with open_text(open_bytes, encoding) as text:
        if array:
            yield from _elements(path, text, encoding)
            return
        for number, line in enumerate(text, start=1):
            line = line.removeprefix("\ufeff") if number == 1 else line
            if line.strip():
                yield (number, *_parsed(line, encoding))


class _Repeated(dict[str, Any]):
    """An object that gives a key twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    return record if len(record) == len(pairs) else _Repeated(pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _parsed(line: str, encoding: str) -> tuple[dict[str, Any] | None, str]:
    if UNDECODABLE in line:
        return None, problem_of(line, encoding)
    try:
        return _checked(_DECODER.decode(line))
    except (ValueError, RecursionError):
        return None, "not a JSON value"


def _checked(record: Any) -> tuple[dict[str, Any] | None, str]:
    if isinstance(record, _Repeated):
        return None, "a key stands twice in the object"
    return (record, "") if isinstance(record, dict) else (None, "not a JSON object")


def _elements(path: str, text: IO[str], encoding: str) -> Iterator[Numbered]:
    """The elements of an array, one after the other; memory holds a chunk or the longest one."""
    buffer = text.read(_CHUNK_CHARACTERS).removeprefix("\ufeff").lstrip()
    at, number, ended = 1, 1, False
    while not ended:
        try:
            end, record, ended = _next_element(buffer, at)
        except (ValueError, RecursionError) as cause:
            more = text.read(max(_CHUNK_CHARACTERS, len(buffer) - at))
            if not more or len(buffer) - at > _LONGEST_ELEMENT:
                raise MalformedTable(
                    f"{path}: element {number} of the array is not JSON: {cause}. Correct it, or "
                    "write one object in each line."
                ) from None
            buffer, at = buffer[at:] + more, 0
            continue
        if end > at and record is not _NOTHING:
            if UNDECODABLE in buffer[at:end]:
                yield number, None, problem_of(UNDECODABLE, encoding)
            else:
                yield (number, *_checked(record))
            number += 1
        at = end
    if buffer[at:].strip() or text.read(_CHUNK_CHARACTERS).strip():
        raise MalformedTable(
            f"{path}: text follows after the array of {number - 1} objects. Write all objects into "
            "one array, or one in each line."
        )


_NOTHING = object()


def _next_element(buffer: str, at: int) -> tuple[int, Any, bool]:
    """Where an element and the comma or bracket after it end, the element, and if it is the last.

    Raises:
        ValueError: the buffer does not hold it whole.
    """
    at = _BLANK.match(buffer, at).end()  # type: ignore[union-attr]
    if buffer[at : at + 1] == "]":
        return at + 1, _NOTHING, True
    record, end = _DECODER.raw_decode(buffer, at)
    end = _BLANK.match(buffer, end).end()  # type: ignore[union-attr]
    if buffer[end : end + 1] not in (",", "]"):
        raise ValueError(f"found {buffer[end : end + 20]!r} where a comma or ] is expected")
    return end + 1, record, buffer[end] == "]"


def unwritable(value: Any) -> str:
    """Why a JSON value cannot be stored: a string that is no Unicode text, or a NUL; else ""."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return HALF_PAIR
        return problem_of(value)
    if isinstance(value, list | tuple | dict):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        problems = {*map(unwritable, parts)} - {""}
        return max(problems, default="")  # a NUL, which cannot be repaired, sorts last
    return ""
