"""Replays a version's warm-up requests, so that its first real ones find everything in place."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.bundle.loading import LoadedModel
from serving.bundle.warmup import WARMUP_PATH
from serving.server.refusals import Refusal
from serving.server.signatures import DEFAULT, Signature
from serving.server.tensor_protos import array_of
from tfrs_twotower.errors import BundleError

_MAX_REQUESTS = 1000


def replay_warmup(model: LoadedModel, signatures: Mapping[str, Signature]) -> int:
    """Runs each request once; as at TensorFlow Serving, one that fails fails the version.

    Args:
        model: the version.
        signatures: its own.

    Returns:
        The number of requests; 0 if the version has no such file.

    Raises:
        BundleError: the file is not one, has too many requests, or one of them fails.
    """
    path = model.directory / WARMUP_PATH
    if not path.is_file():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            count += 1
            if count > _MAX_REQUESTS:
                raise BundleError(f"{path}: has more than {_MAX_REQUESTS} warm-up requests.")
            log = prediction_log_pb2.PredictionLog.FromString(record)
            _replay(model, signatures, log.predict_log.request)
    except (DecodeError, KeyError, Refusal, tf.errors.OpError) as cause:
        raise BundleError(
            f"{path}: warm-up request {count} fails: {cause}. Export the bundle again."
        ) from cause
    return count


def _replay(model: LoadedModel, signatures: Mapping[str, Signature], request: Any) -> None:
    signature = signatures[request.model_spec.signature_name or DEFAULT]
    inputs = {name: array_of(signature, name, proto) for name, proto in request.inputs.items()}
    model.call(signature.name, inputs)
