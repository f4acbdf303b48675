"""The requests of a load test, made before it begins, so that users only send bytes."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.bundle.versions import resolve_version
from serving.bundle.warmup import WARMUP_PATH
from serving.client.client import Client
from serving.client.endpoint import Target
from serving.client.request_inputs import Arrays, build_inputs
from serving.client.sample_queries import as_columns, read_queries
from serving.client.transports import predict_body, predict_request
from tfrs_twotower.errors import BundleError

_REQUESTS = 256
_TIMEOUT_S = 10.0


def from_warmup(bundle: Path, signature: str, batch_size: int) -> list[Arrays]:
    """Inputs of the warm-up requests of a bundle, whose queries are blank.

    Raises:
        BundleError: no request has that signature and size.
    """
    path = resolve_version(bundle) / WARMUP_PATH
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


def from_queries(target: str, path: Path, signature: str, batch_size: int) -> list[Arrays]:
    """Inputs made of a file's queries, `batch_size` each; after the last one the first comes again.

    Raises:
        EndpointError: the server cannot say what the signature takes.
        DataError, ArtifactError: there are no queries.
    """
    queries = read_queries(path, _REQUESTS * batch_size)
    with Client(target, timeout_s=_TIMEOUT_S) as client:
        specs = client.inputs(signature)
    batches = []
    for start in range(0, len(queries), batch_size):
        chosen = [queries[at % len(queries)] for at in range(start, start + batch_size)]
        batches.append(build_inputs(specs, as_columns(chosen, specs)))
    return batches


def as_bytes(target: Target, signature: str, requests: Sequence[Arrays]) -> list[bytes]:
    """Serialized `PredictRequest`s, or bodies of REST requests."""
    if target.scheme == "grpc":
        return [
            predict_request(target, signature, inputs).SerializeToString() for inputs in requests
        ]
    return [predict_body(signature, inputs) for inputs in requests]
