"""Warm-up requests, which a model server answers itself before a version serves anybody."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.bundle import integrity, versions
from serving.bundle.server_files import WARMUP_PATH
from serving.graph.names import EXAMPLES
from tfrs_twotower.errors import BundleError
from tfrs_twotower.specs import MISSING_TIME


def write_warmup_requests(
    directory: Path,
    model_name: str,
    signatures: Mapping[str, Mapping[str, tf.TensorSpec]],
    batch_sizes: Sequence[int],
) -> int:
    """Writes a TFRecord of `PredictionLog`s into a version's `assets.extra`.

    Args:
        directory: the version's directory.
        model_name: the model's name at the server.
        signatures: inputs of each signature.
        batch_sizes: the server's allowed batch sizes.

    Returns:
        The number of requests.
    """
    path = directory / WARMUP_PATH
    path.parent.mkdir(exist_ok=True)
    written = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in signatures.items():
            for batch_size in sorted(set(batch_sizes)):
                request = _request(model_name, signature, inputs, batch_size)
                log = prediction_log_pb2.PredictLog(request=request)
                writer.write(
                    prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString(
                        deterministic=True
                    )
                )
                written += 1
    return written


def read_warmup_requests(
    bundle: Path, signature: str, batch_size: int
) -> list[dict[str, npt.NDArray[Any]]]:
    """Inputs of a bundle's warm-up requests, whose queries are blank.

    Raises:
        ArtifactError: a file of the version was changed, is missing, or does not belong to it.
        BundleError: no warm-up request has this signature and batch size.
    """
    version_dir = versions.resolve_version(bundle)
    integrity.verified_manifest(version_dir)
    path = version_dir / WARMUP_PATH
    chosen, sizes = [], set()
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        if request.model_spec.signature_name != signature:
            continue
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        size = len(next(iter(inputs.values())))
        sizes.add(size)
        if size == batch_size:
            chosen.append(inputs)
    if not chosen:
        raise BundleError(
            f"{path}: has no request of {batch_size} for {signature}; it has "
            f"{', '.join(map(str, sorted(sizes))) or 'none at all'}. Choose one of these, or "
            "replay queries from a file."
        )
    return chosen


def _request(
    model_name: str, signature: str, inputs: Mapping[str, tf.TensorSpec], batch_size: int
) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, spec in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(blank(name, spec, batch_size)))
    return request


def blank(name: str, spec: tf.TensorSpec, batch_size: int) -> np.ndarray[Any, Any]:
    """A tensor without values: "", 0, or an empty serialized Example; free widths are 1."""
    shape = [batch_size, *(size or 1 for size in spec.shape[1:])]
    if spec.dtype != tf.string:
        return np.zeros(shape, spec.dtype.as_numpy_dtype)
    value = tf.train.Example().SerializeToString() if name == EXAMPLES else b""
    return np.full(shape, value, object)


def missing(name: str, spec: tf.TensorSpec) -> np.ndarray[Any, Any]:
    """One query's tensor of a missing value, as a client sends it: "", NaN, or `MISSING_TIME`.

    A vector that a request brings, `[batch, width]` floats, has no missing value: it is 0.
    """
    values = blank(name, spec, 1)
    if spec.dtype.is_integer:
        return np.full_like(values, MISSING_TIME)
    is_number = spec.dtype.is_floating and values.ndim == 1
    return np.full_like(values, np.nan) if is_number else values
