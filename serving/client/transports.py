"""Predict and GetModelMetadata, over gRPC (official stubs) and over REST (columnar form)."""

import base64
import json
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
import urllib3
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client.endpoint import Target
from serving.client.request_inputs import Arrays, Input, Signatures, width_of
from tfrs_twotower.errors import EndpointError

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # the client retries, and knows the deadline
    ("grpc.lb_policy_name", "round_robin"),  # over all addresses of a name: replicas
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_CODES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""gRPC code names for the HTTP statuses of TensorFlow Serving, or of a proxy before it (502); other
statuses are INTERNAL."""
_CONNECTIONS = 32


class GrpcTransport:
    """A gRPC channel, which many threads may use."""

    def __init__(self, target: Target) -> None:
        """Opens the channel, which connects at its first request."""
        self._target = target
        if target.is_encrypted:
            credentials = target.tls.channel_credentials()
            self._channel = grpc.secure_channel(target.address, credentials, options=_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(target.address, options=_OPTIONS)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def predict(self, signature: str, inputs: Arrays, timeout_s: float) -> Arrays:
        """Calls a signature once, and returns its outputs.

        Raises:
            EndpointError: with gRPC's code.
        """
        request = predict_request(self._target, signature, inputs)
        response = self._call(self._stub.Predict, request, timeout_s)
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}

    def signatures(self, timeout_s: float) -> Signatures:
        """Inputs of every signature.

        Raises:
            EndpointError: with gRPC's code.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        _address(self._target, request.model_spec)
        response = self._call(self._stub.GetModelMetadata, request, timeout_s)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(definitions)
        return {
            signature: {name: _tensor_input(info) for name, info in definition.inputs.items()}
            for signature, definition in definitions.signature_def.items()
            if definition.inputs
        }

    def close(self) -> None:
        """Closes the channel; running calls end as cancelled."""
        self._channel.close()

    def _call(self, method: Any, request: Any, timeout_s: float) -> Any:
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            code = error.code().name
            raise EndpointError(
                f"{self._target.description}: {code}: {error.details()}", code
            ) from None


def predict_request(target: Target, signature: str, inputs: Arrays) -> Any:
    """A `PredictRequest` for a target."""
    request = predict_pb2.PredictRequest()
    _address(target, request.model_spec)
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return request


def _address(target: Target, model_spec: Any) -> None:
    model_spec.name = target.model
    if target.version is not None:
        model_spec.version.value = target.version
    if target.label is not None:
        model_spec.version_label = target.label


def _tensor_input(info: Any) -> Input:
    sizes = [int(dimension.size) for dimension in info.tensor_shape.dim]
    return Input(types_pb2.DataType.Name(info.dtype), width_of(sizes))


class RestTransport:
    """A pool of HTTP connections, which many threads may use."""

    def __init__(self, target: Target) -> None:
        """Creates the pool, which connects at its first request."""
        self._target = target
        context = target.tls.context() if target.is_encrypted else None
        self._pool = urllib3.PoolManager(maxsize=_CONNECTIONS, retries=False, ssl_context=context)
        self._url = f"{target.scheme}://{target.address}{target.path}"

    def predict(self, signature: str, inputs: Arrays, timeout_s: float) -> Arrays:
        """Calls a signature once, and returns its outputs.

        Raises:
            EndpointError: with gRPC's name for the status.
        """
        body = predict_body(signature, inputs)
        answer = self._call("POST", f"{self._url}:predict", timeout_s, body)
        if not isinstance(
            answer.get("outputs"), dict
        ):  # the server drops the name of a single output
            raise self._error("FAILED_PRECONDITION", f"{signature} is not of a bundle: no names")
        return {name: _as_array(values) for name, values in answer["outputs"].items()}

    def signatures(self, timeout_s: float) -> Signatures:
        """Inputs of every signature.

        Raises:
            EndpointError: with gRPC's name for the status.
        """
        answer = self._call("GET", f"{self._url}/metadata", timeout_s)
        definitions = answer["metadata"]["signature_def"]["signature_def"]
        return {
            signature: {name: _json_input(info) for name, info in definition["inputs"].items()}
            for signature, definition in definitions.items()
            if definition.get("inputs")
        }

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def _call(self, method: str, url: str, timeout_s: float, body: bytes | None = None) -> Any:
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            response = self._pool.request(
                method, url, body=body, headers=headers, timeout=urllib3.Timeout(total=timeout_s)
            )
        except urllib3.exceptions.NewConnectionError as cause:
            raise self._error("UNAVAILABLE", str(cause)) from None
        except urllib3.exceptions.TimeoutError:
            raise self._error("DEADLINE_EXCEEDED", f"no answer in {timeout_s:.3f} s") from None
        except urllib3.exceptions.HTTPError as cause:
            raise self._error("UNAVAILABLE", str(cause)) from None
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = None
        if response.status == 200 and isinstance(answer, dict):
            return answer
        shown = response.data[:200].decode(errors="replace")
        message = answer.get("error", shown) if isinstance(answer, dict) else shown
        code = _CODES.get(response.status, "INTERNAL")
        raise self._error(code, f"HTTP {response.status}: {message}")

    def _error(self, code: str, what: str) -> EndpointError:
        return EndpointError(f"{self._target.description}: {code}: {what}", code)


def predict_body(signature: str, inputs: Arrays) -> bytes:
    """The body of a Predict request, in the columnar form."""
    columns = {name: _as_json(values.tolist()) for name, values in inputs.items()}
    request = {"signature_name": signature, "inputs": columns}
    return json.dumps(request, ensure_ascii=False).encode()


def _as_json(values: Any) -> Any:
    """Converts bytes to text, or to base64 if they are not UTF-8; numbers stay as they are."""
    if isinstance(values, list):
        return [_as_json(value) for value in values]
    if not isinstance(values, bytes):
        return values
    try:
        return values.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(values).decode()}


def _as_array(values: Any) -> Any:
    array = np.array(values)
    if array.dtype.kind == "U":
        return np.array(_encoded(values), object)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _encoded(values: Any) -> Any:
    if isinstance(values, list):
        return [_encoded(value) for value in values]
    return values.encode()


def _json_input(info: Any) -> Input:
    shape = [int(dimension["size"]) for dimension in info["tensor_shape"].get("dim", ())]
    return Input(info["dtype"], width_of(shape))
