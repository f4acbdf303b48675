"""Reads a version's `batching_params.pbtxt`.

The message is TensorFlow Serving's `BatchingParameters`, for which no package has a class. Its
fields are declared here, and protobuf parses the text.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.wrappers_pb2 import DESCRIPTOR as WRAPPERS

from serving.bundle.server_files import BATCHING_NAME
from tfrs_twotower.errors import BundleError

_INT64, _STRING, _BOOL = (
    f'type: TYPE_MESSAGE type_name: ".google.protobuf.{kind}Value"'
    for kind in ("Int64", "String", "Bool")
)
_DECLARATION = f"""
name: "twotower/batching_parameters.proto" syntax: "proto3" dependency: "{WRAPPERS.name}"
message_type {{
  name: "BatchingParameters"
  field {{ number: 1 name: "max_batch_size" {_INT64} }}
  field {{ number: 2 name: "batch_timeout_micros" {_INT64} }}
  field {{ number: 3 name: "max_enqueued_batches" {_INT64} }}
  field {{ number: 4 name: "num_batch_threads" {_INT64} }}
  field {{ number: 5 name: "thread_pool_name" {_STRING} }}
  field {{ number: 6 name: "allowed_batch_sizes" type: TYPE_INT64 label: LABEL_REPEATED }}
  field {{ number: 7 name: "pad_variable_length_inputs" type: TYPE_BOOL }}
  field {{ number: 8 name: "enable_large_batch_splitting" {_BOOL} }}
  field {{ number: 9 name: "max_execution_batch_size" {_INT64} }}
}}
"""


@dataclass(frozen=True)
class BatchingParameters:
    """How requests to one signature are batched."""

    max_batch_size: int
    """Largest number of rows of a batch, and of a request."""
    timeout_s: float
    """Longest time that a request waits for others, in seconds."""
    max_enqueued_batches: int
    """Largest number of batches that wait or run; requests beyond them are refused."""
    num_threads: int
    """Number of batches that run at one time."""
    allowed_batch_sizes: tuple[int, ...]
    """Increasing sizes; a batch is filled up to the next one. The last is `max_batch_size`."""
    pad_widths: bool
    """Whether requests of different widths may share a batch."""

    def padded_rows(self, rows: int) -> int:
        """The allowed batch size that a batch with this number of rows is filled up to."""
        return next(size for size in self.allowed_batch_sizes if size >= rows)


def read_batching_parameters(version_dir: Path, num_threads: int) -> BatchingParameters | None:
    """Reads a version's parameters.

    Args:
        version_dir: directory of the version.
        num_threads: number of threads if the file does not name one.

    Returns:
        The parameters; None without a file, in which case requests run one by one.

    Raises:
        BundleError: the file is not a `BatchingParameters`, or its sizes are inconsistent.
    """
    path = version_dir / BATCHING_NAME
    if not path.is_file():
        return None
    try:
        message = text_format.Parse(path.read_text(encoding="utf-8"), _message_class()())
    except (text_format.ParseError, UnicodeDecodeError) as cause:
        raise BundleError(
            f"{path}: not a BatchingParameters message: {cause}. Export the bundle again."
        ) from cause
    max_batch_size = _value(message, "max_batch_size", 1000)
    sizes = list(message.allowed_batch_sizes) or list(range(1, max_batch_size + 1))
    if sizes != sorted(set(sizes)) or min(sizes, default=0) < 1 or sizes[-1] != max_batch_size:
        raise BundleError(
            f"{path}: found allowed_batch_sizes {sizes} and max_batch_size {max_batch_size}; the "
            "sizes must increase from at least 1, and the last must be max_batch_size. Export the "
            "bundle again."
        )
    return BatchingParameters(
        max_batch_size=max_batch_size,
        timeout_s=_value(message, "batch_timeout_micros", 0) / 1e6,
        max_enqueued_batches=max(_value(message, "max_enqueued_batches", 10), 1),
        num_threads=max(_value(message, "num_batch_threads", num_threads), 1),
        allowed_batch_sizes=tuple(sizes),
        pad_widths=message.pad_variable_length_inputs,
    )


def _value(message: Any, name: str, default: int) -> int:
    return int(getattr(message, name).value) if message.HasField(name) else default


def _message_class() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(WRAPPERS.serialized_pb)
    pool.Add(text_format.Parse(_DECLARATION, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("BatchingParameters"))
