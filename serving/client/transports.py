"""Predict and GetModelMetadata over gRPC, by the official stubs, which import TensorFlow."""

from typing import Any

import grpc
import tensorflow as tf
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
