"""Says from a SavedModel's list of operations whether a model server can load it."""

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from serving.server_ops import SCANN_OPS, TEXT_OPS
from serving.versions import SAVED_MODEL_NAME, resolve_version
from tfrs_twotower.errors import BundleError

SERVERS = ("stock", "scann")


def check_bundle(bundle: Path, server: str = "stock") -> tuple[str, ...]:
    """Operations of a bundle that a server does not have; the model itself is not loaded.

    Args:
        bundle: a bundle directory (its newest version is looked at) or one version of it.
        server: `stock` TensorFlow Serving, or one built with ScaNN's operations, `scann`.

    Returns:
        Names of the missing operations, sorted; empty if the server can load it.

    Raises:
        BundleError: there is no such server, or the path is not a bundle.
    """
    if server not in SERVERS:
        raise BundleError(f"server '{server}': allowed are {', '.join(SERVERS)}.")
    known = set(dir(tf.raw_ops)) | TEXT_OPS
    if server == "scann":
        known |= SCANN_OPS
    return tuple(name for name in read_ops(resolve_version(bundle)) if name not in known)


def read_ops(version_dir: Path) -> list[str]:
    """Names of all operations in a SavedModel, sorted.

    Raises:
        BundleError: `saved_model.pb` is not one.
    """
    path = version_dir / SAVED_MODEL_NAME
    try:
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except (OSError, DecodeError) as cause:
        raise BundleError(f"{path}: not a SavedModel: {cause}. Export the bundle again.") from cause
    return sorted(
        {
            operation.name
            for graph in saved.meta_graphs
            for operation in graph.meta_info_def.stripped_op_list.op
        }
    )
