"""Shards of an artifact, and the tf.Examples in them, read without TensorFlow.

The corpus is read with `tf.data` (see `raw_inputs`), training examples as Arrow files (see
`stored_examples`). A client that replays some queries over REST has no other use for TensorFlow,
whose import takes seconds.
"""

import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

from tfrs_twotower.errors import CorruptArtifact, MissingArtifact

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.")
_LENGTH = struct.Struct("<QI")
_CRC_BYTES = 4
_KINDS = {"bytes_list": "BYTES", "float_list": "FLOAT", "int64_list": "INT64"}
_LISTS = "".join(
    f"""
message_type {{
  name: "{kind}" field {{ number: 1 name: "value" type: TYPE_{kind} label: LABEL_REPEATED }}
}}"""
    for kind in _KINDS.values()
)
_KIND_FIELDS = "".join(
    f'field {{ number: {number} name: "{name}" type: TYPE_MESSAGE type_name: ".{kind}" }} '
    for number, (name, kind) in enumerate(_KINDS.items(), 1)
)
_DECLARATION = f"""
name: "twotower/example.proto" syntax: "proto3" {_LISTS}
message_type {{ name: "Feature" {_KIND_FIELDS} }}
message_type {{
  name: "Features"
  field {{
    number: 1 name: "feature" type: TYPE_MESSAGE type_name: ".Features.Entry" label: LABEL_REPEATED
  }}
  nested_type {{
    name: "Entry" options {{ map_entry: true }}
    field {{ number: 1 name: "key" type: TYPE_STRING }}
    field {{ number: 2 name: "value" type: TYPE_MESSAGE type_name: ".Feature" }}
  }}
}}
message_type {{
  name: "Example" field {{ number: 1 name: "features" type: TYPE_MESSAGE type_name: ".Features" }}
}}
"""


def find_shards(directory: Path, pattern: str) -> list[Path]:
    """Paths of all shards that match the pattern, by name.

    Raises:
        MissingArtifact: no file matches.
        CorruptArtifact: some of the shards are missing.
    """
    paths = sorted(directory.glob(pattern))
    if not paths:
        raise MissingArtifact(
            f"{directory}: there is no file {pattern}; run the stage that writes it."
        )
    matches = [_SHARD.search(path.name) for path in paths]
    numbers = [(int(match[1]), int(match[2])) for match in matches if match is not None]
    if numbers != [(shard, len(paths)) for shard in range(len(paths))]:
        raise CorruptArtifact(
            f"{directory}: the shards {pattern} are not complete: found "
            f"{', '.join(path.name for path in paths)}. Run the stage that writes them again."
        )
    return paths


def read_examples(directory: Path, pattern: str) -> Iterator[dict[str, list[Any]]]:
    """The tf.Examples of all shards, in shard order then record order, as values by feature name.

    Checksums of single records are not looked at: gzip has one of the whole shard.

    Raises:
        MissingArtifact: no file matches the pattern.
        CorruptArtifact: a shard cannot be read.
    """
    for path in find_shards(directory, pattern):
        try:
            for payload in _payloads(path):
                yield _values_of(payload)
        except (OSError, EOFError, ValueError, zlib.error, DecodeError) as cause:
            raise CorruptArtifact(
                f"{path}: cannot be read: {cause}. Run the stage that writes it again."
            ) from cause


def _payloads(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as stream:
        while head := stream.read(_LENGTH.size):
            (length, _) = _LENGTH.unpack(head.ljust(_LENGTH.size, b"\0"))
            framed = stream.read(length + _CRC_BYTES)
            if len(head) < _LENGTH.size or len(framed) < length + _CRC_BYTES:
                raise ValueError("the file ends inside a record")
            yield framed[:length]


def _values_of(serialized: bytes) -> dict[str, list[Any]]:
    features = _example_class().FromString(serialized).features.feature
    return {
        name: [value for kind in _KINDS for value in getattr(feature, kind).value]
        for name, feature in features.items()
    }


@cache
def _example_class() -> Any:
    """`tf.train.Example`, declared again because its own module imports TensorFlow."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_DECLARATION, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Example"))
