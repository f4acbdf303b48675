"""Writes `tf.train.Example`s and TFRecords: equal values give equal bytes."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import google_crc32c
from tensorflow.core.example import example_pb2

from pipelines.transforms.records import Value
from tfrs_twotower.specs import Feature, NumericFeature, TimestampFeature

Example = example_pb2.Example
_LENGTH = struct.Struct("<QI")
_CRC = struct.Struct("<I")


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """The bytes of one record in a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        (length, _CRC.pack(_masked_crc(length)), payload, _CRC.pack(_masked_crc(payload)))
    )


def read_frames(stream: IO[bytes]) -> Iterator[bytes | None]:
    """Payloads of a TFRecord stream; None for a payload that does not match its checksum.

    Raises:
        ValueError: the stream ends inside a record, or the length of a record is damaged, so that
            the next record cannot be found.
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


def put_value(example: Any, feature: Feature, value: Value) -> None:
    """Sets one feature of an example to a value as in `Entity.values`, or to a history."""
    slot = example.features.feature[feature.name]
    if isinstance(feature, NumericFeature):
        slot.float_list.value.append(value)
    elif isinstance(feature, TimestampFeature):
        slot.int64_list.value.append(value)
    elif isinstance(value, str):
        slot.bytes_list.value.append(value.encode("utf-8"))
    else:
        slot.bytes_list.value.extend([part.encode("utf-8") for part in value])  # type: ignore[union-attr]
        slot.bytes_list.SetInParent()


def put_values(example: Any, features: Sequence[Feature], values: Sequence[Value]) -> None:
    """Sets the features whose values are known; events give those that are None."""
    for feature, value in zip(features, values, strict=True):
        if value is not None:
            put_value(example, feature, value)


def put_texts(example: Any, key: str, texts: Iterable[str]) -> None:
    """Sets a list of strings, possibly empty."""
    slot = example.features.feature[key].bytes_list
    slot.SetInParent()
    slot.value.extend([text.encode("utf-8") for text in texts])


def put_number(example: Any, key: str, number: int) -> None:
    """Sets one integer."""
    example.features.feature[key].int64_list.value.append(number)


def put_floats(example: Any, key: str, numbers: Iterable[float]) -> None:
    """Sets a list of floats, possibly empty."""
    slot = example.features.feature[key].float_list
    slot.SetInParent()
    slot.value.extend(numbers)


def serialise(example: Any) -> bytes:
    """The bytes of an example, with its features in the order of their names."""
    return example.SerializeToString(deterministic=True)
