"""The texts that a model server reads beside the graph: batching, models, monitoring.

Nothing here loads TensorFlow, so that a bundle's versions can be listed quickly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.wrappers_pb2 import DESCRIPTOR as WRAPPERS
from tensorflow_serving.config import model_server_config_pb2

from tfrs_twotower.artifacts import replace_file
from tfrs_twotower.errors import BundleError

BATCHING_NAME = "batching_params.pbtxt"
MODELS_NAME = "models.config"
MONITORING_NAME = "monitoring.config"
WARMUP_PATH = Path("assets.extra") / "tf_serving_warmup_requests"
_TIMEOUT_MICROS = 1000
_MAX_ENQUEUED_BATCHES = 100
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


def batching_parameters(allowed_batch_sizes: Sequence[int]) -> str:
    """The text of a `BatchingParameters` message.

    Args:
        allowed_batch_sizes: sizes that requests are padded to; the largest is the limit.
    """
    sizes = sorted(set(allowed_batch_sizes))
    return "".join(
        [
            f"max_batch_size {{ value: {sizes[-1]} }}\n",
            f"batch_timeout_micros {{ value: {_TIMEOUT_MICROS} }}\n",
            f"max_enqueued_batches {{ value: {_MAX_ENQUEUED_BATCHES} }}\n",
            *(f"allowed_batch_sizes: {size}\n" for size in sizes),
            "# Widths of exclude_ids may differ. A request is padded with its own first element,\n",
            '# which is why clients send "" in column 0 of exclude_ids, allow and deny.\n',
            "pad_variable_length_inputs: true\n",
        ]
    )


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

    No package has a class of this message, so its fields are declared in this module.

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


def models_config(name: str, *, version: int | None = None) -> str:
    """The text of a `ModelServerConfig` that serves one bundle.

    Args:
        name: the bundle's and the model's name.
        version: the only version to serve; by default the server serves the newest.
    """
    policy = "latest { num_versions: 1 }"
    if version is not None:
        policy = f"specific {{ versions: {version} }}"
    return f"""\
# Mount this directory at /models/{name} and start the server with
#   --model_config_file=/models/{name}/{MODELS_NAME} --model_config_file_poll_wait_seconds=30
#   --monitoring_config_file=/models/{name}/{MONITORING_NAME}
#   --enable_batching --enable_per_model_batching_parameters
# `twotower rollback` makes an earlier version the one that is served, by this file.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ {policy} }}
  }}
}}
"""


def write_models_config(bundle: Path, version: int | None = None) -> None:
    """Replaces a bundle's `models.config` atomically, so that servers read the old or the new file.

    Args:
        bundle: the bundle's directory, whose name is the model's.
        version: the only version to serve; by default servers serve the newest.
    """
    replace_file(bundle / MODELS_NAME, models_config(bundle.name, version=version))


def read_models_config(path: Path) -> Any:
    """Reads a `models.config`.

    Returns:
        `model_server_config_pb2.ModelServerConfig`.

    Raises:
        BundleError: the file is missing, or is not a `ModelServerConfig`.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as cause:
        raise BundleError(
            f"{path}: cannot be read as a ModelServerConfig in text format: {cause}. Correct it, "
            "or let `twotower rollback BUNDLE --undo` write it again."
        ) from cause


def pinned_version(bundle: Path) -> int | None:
    """The version that a bundle's `models.config` names; None if it serves the newest.

    Raises:
        BundleError: the file cannot be read.
    """
    path = bundle / MODELS_NAME
    if not path.exists():
        return None
    for model in read_models_config(path).model_config_list.config:
        if model.name == bundle.name:
            return max(model.model_version_policy.specific.versions, default=None)
    return None


def monitoring_config() -> str:
    """The text of a `MonitoringConfig` that serves Prometheus metrics on the REST port."""
    return """\
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def _value(message: Any, name: str, default: int) -> int:
    return int(getattr(message, name).value) if message.HasField(name) else default


def _message_class() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(WRAPPERS.serialized_pb)
    pool.Add(text_format.Parse(_DECLARATION, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("BatchingParameters"))
