"""The TFRecord container: length and payload, each with a masked CRC-32C.

Layout of one record: uint64 length, uint32 masked CRC of the length, payload, uint32 masked CRC
of the payload; all little-endian.
"""

import struct
from collections.abc import Iterator
from typing import IO

import google_crc32c

_LENGTH = struct.Struct("<QI")
_CRC = struct.Struct("<I")


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """One record of a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        (length, _CRC.pack(_masked_crc(length)), payload, _CRC.pack(_masked_crc(payload)))
    )


def read_frames(stream: IO[bytes]) -> Iterator[bytes | None]:
    """Payloads of a TFRecord stream; None for a payload that does not match its checksum.

    Raises:
        ValueError: the stream ends inside a record, or a length is damaged: what follows cannot
            be found.
    """
    while head := stream.read(_LENGTH.size):
        if len(head) < _LENGTH.size:
            raise ValueError("the file ends inside a record")
        length, length_crc = _LENGTH.unpack(head)
        if _masked_crc(head[:8]) != length_crc:
            raise ValueError("a record's length does not match its checksum")
        payload = stream.read(length)
        tail = stream.read(_CRC.size)
        if len(payload) < length or len(tail) < _CRC.size:
            raise ValueError("the file ends inside a record")
        yield payload if _CRC.unpack(tail)[0] == _masked_crc(payload) else None
