"""The texts that a model server reads beside the graph: batching, models, monitoring.

Nothing here loads TensorFlow, so that a bundle's versions can be listed quickly.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfrs_twotower.artifacts import replace_file
from tfrs_twotower.errors import BundleError

BATCHING_NAME = "batching_params.pbtxt"
MODELS_NAME = "models.config"
MONITORING_NAME = "monitoring.config"
WARMUP_PATH = Path("assets.extra") / "tf_serving_warmup_requests"
_TIMEOUT_MICROS = 1000
_MAX_ENQUEUED_BATCHES = 100


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
