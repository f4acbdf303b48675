"""Serialises tables as `tf.train.Example`s, a column for each feature, all rows at once.

The bytes are those that protobuf writes deterministically: features sorted by their keys, lists of
numbers packed (https://protobuf.dev/programming-guides/encoding/).
"""

import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.transforms import batches

_FIRST, _SECOND = b"\x0a", b"\x12"
_TEXTS, _FLOATS, _INTEGERS = b"\x0a", b"\x12", b"\x1a"
_AT_ONCE = 1 << 16
_CRC = struct.Struct("<I")
_EMPTY = pa.scalar(b"", pa.binary())


def encode_examples(table: pa.Table) -> Iterator[pa.Array]:
    """The serialised examples of a table's rows, in arrays of some rows.

    A column of text or a number is a list of one value; a null has no feature. Lists are of text or
    of float32.
    """
    for start in range(0, table.num_rows, _AT_ONCE):
        part = table.slice(start, _AT_ONCE)
        pieces = [_entry(name, batches.flat(part[name])) for name in sorted(part.column_names)]
        yield _message(_FIRST, _joined(*itertools.chain.from_iterable(pieces)))


def write_examples(table: pa.Table, write: Callable[[bytes], Any]) -> None:
    """Writes the rows of a table as the records of a TFRecord file."""
    length_crc: dict[int, bytes] = {}
    for examples in encode_examples(table):
        framed: list[bytes] = []
        for payload in examples.to_pylist():
            size = len(payload)
            head = length_crc.get(size)
            if head is None:
                length = struct.pack("<Q", size)
                head = length_crc[size] = length + _CRC.pack(masked_crc(length))
            framed += (head, payload, _CRC.pack(masked_crc(payload)))
        write(b"".join(framed))


def masked_crc(data: bytes) -> int:
    """The checksum of a TFRecord's length or payload."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _entry(name: str, values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """A feature of each row, as an entry of the map from keys to features: head and content."""
    tags, content = _content(values)
    key = name.encode("utf-8")
    before_value = _FIRST + bytes(_varints(np.array([len(key)]))[0].as_py()) + key + _SECOND
    head = _head((_FIRST, before_value, *tags), content)
    if not values.null_count:
        return head, content
    is_there = values.is_valid()
    return pc.if_else(is_there, head, _EMPTY), pc.if_else(is_there, content, _EMPTY)


def _content(values: pa.Array) -> tuple[tuple[bytes, ...], pa.Array]:
    """The tags of a list of values and of what it holds, and the content of each row."""
    kind = values.type
    if pa.types.is_string(kind):
        return (_TEXTS, _FIRST), pc.fill_null(values, "").cast(pa.binary())
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        pieces = _message(_FIRST, values.flatten().cast(pa.binary()))
        return (_TEXTS,), _binary_joined(_offsets(values), pieces)
    if pa.types.is_list(kind):
        offsets = _offsets(values)
        floats = np.ascontiguousarray(values.flatten().to_numpy(), "<f4")
        packed = _message(_FIRST, _slices(floats.view(np.uint8), offsets * 4))
        return (_FLOATS,), pc.if_else(pa.array(np.diff(offsets) > 0), packed, _EMPTY)
    if pa.types.is_integer(kind):
        integers = np.asarray(pc.fill_null(values, 0).to_numpy(zero_copy_only=False), np.int64)
        return (_INTEGERS, _FIRST), _varints(integers)
    floats = np.asarray(pc.fill_null(values, 0.0).to_numpy(zero_copy_only=False), "<f4")
    rows = np.arange(len(floats) + 1) * 4
    return (_FLOATS, _FIRST), _slices(np.ascontiguousarray(floats).view(np.uint8), rows)


def _message(tag: bytes, content: pa.Array) -> pa.Array:
    """Tag, length and content of each row."""
    return _joined(_head((tag,), content), content)


def _head(tags: Sequence[bytes], content: pa.Array) -> pa.Array:
    """What comes before the content of each row in messages within messages, outermost first.

    That is the tag and the length of each of them, and it is made once for each length of content.
    """
    lengths = pc.binary_length(content).dictionary_encode()
    length = np.asarray(lengths.dictionary.to_numpy(), np.int64)
    head = _slices(np.zeros(0, np.uint8), np.zeros(len(length) + 1, np.int64))
    for tag in reversed(tags):
        within = length + np.asarray(pc.binary_length(head).to_numpy())
        head = _joined(pa.scalar(tag, pa.binary()), _varints(within), head)
    return head.take(lengths.indices)


def _joined(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, _EMPTY)


def _offsets(lists: pa.ListArray) -> NDArray[np.int64]:
    offsets = np.asarray(lists.offsets.to_numpy(), np.int64)
    return offsets - offsets[0]


def _binary_joined(offsets: NDArray[np.int64], pieces: pa.Array) -> pa.Array:
    """The pieces between each two offsets, joined."""
    bounds = np.frombuffer(pieces.buffers()[1], np.int32)[pieces.offset :][: len(pieces) + 1]
    data = np.frombuffer(pieces.buffers()[2] or b"", np.uint8)
    return _slices(data, bounds[offsets])


def _slices(data: NDArray[np.uint8], bounds: NDArray[np.integer]) -> pa.Array:
    """The bytes between each two bounds."""
    buffers = [None, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(bounds) - 1, buffers)


def _varints(values: NDArray[Any]) -> pa.Array:
    """Integers in seven bits a byte, the lowest first; a set high bit says that more follow."""
    left = values.astype(np.int64).view(np.uint64)
    digits = np.empty((len(left), 10), np.uint8)
    size = np.ones(len(left), np.int64)
    width = 0
    while width < 10:
        digits[:, width] = left & np.uint64(0x7F)
        left = left >> np.uint64(7)
        width += 1
        more = left > 0
        if not more.any():
            break
        digits[more, width - 1] |= 0x80
        size += more
    bounds = np.concatenate([[0], np.cumsum(size)])
    return _slices(digits[:, :width][np.arange(width) < size[:, None]], bounds)
