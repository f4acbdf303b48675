"""TensorFlow Serving's gRPC API: PredictionService and ModelService.

gRPC itself would answer a malformed message with INTERNAL and an exception with UNKNOWN. So an
interceptor parses messages and turns refusals into their canonical codes.
"""

from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server import model_manager, refusals, request_tensors, served_version

_SIGNATURE_DEF = "signature_def"


def add_services(manager: model_manager.ModelManager, server: grpc.aio.Server) -> None:
    """Lets a server answer TensorFlow Serving's two services."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(manager), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(manager), server)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; bundles have no signatures for the other methods."""

    def __init__(self, manager: model_manager.ModelManager) -> None:
        self._manager = manager

    async def Predict(self, request: Any, _: Any) -> Any:  # noqa: N802
        """Runs a signature of a version."""
        requested = _requested_model(request.model_spec)
        with self._manager.predicting("GRPC", "Predict", *requested) as served:
            signature_name = request.model_spec.signature_name
            signature = served.signature(signature_name, grpc.StatusCode.FAILED_PRECONDITION)
            output_names = signature.requested_outputs(request.output_filter)
            outputs = await served.answer(signature, request_tensors.arrays_of(signature, request))
            response = predict_pb2.PredictResponse(model_spec=model_spec_of(served))
            response.model_spec.signature_name = signature.name
            for name in output_names:
                response.outputs[name].CopyFrom(request_tensors.proto_of(outputs[name]))
        return response

    async def GetModelMetadata(self, request: Any, _: Any) -> Any:  # noqa: N802
        """Describes the signatures of a version."""
        if not request.metadata_field:
            raise refusals.invalid(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise refusals.invalid(f"Metadata field {field[:100]} is not supported")
        served = self._manager.find(*_requested_model(request.model_spec))
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=model_spec_of(served))
        response.metadata[_SIGNATURE_DEF].Pack(served.definitions)
        return response

    async def _unsupported(self, _: Any, __: Any) -> NoReturn:
        raise refusals.invalid(
            "this server answers Predict only; bundles have no classify or regress signatures."
        )

    Classify = Regress = MultiInference = _unsupported


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Reports the state of versions, and replaces the set of models."""

    def __init__(self, manager: model_manager.ModelManager) -> None:
        self._manager = manager

    async def GetModelStatus(self, request: Any, _: Any) -> Any:  # noqa: N802
        """Reports the state of a model's versions."""
        return status_of(self._manager, *_requested_model(request.model_spec))

    async def HandleReloadConfigRequest(self, request: Any, _: Any) -> Any:  # noqa: N802
        """Replaces the set of models."""
        await self._manager.configure(request.config)
        return model_management_pb2.ReloadConfigResponse()


class Refusals(grpc.aio.ServerInterceptor):
    """Answers malformed messages and refusals with their canonical codes."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wraps the methods of TensorFlow Serving's services."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/tensorflow.serving."):
            return handler

        async def answer(data: bytes, context: Any) -> Any:
            try:
                return await handler.unary_unary(handler.request_deserializer(data), context)
            except DecodeError as error:
                refusal = refusals.invalid(f"the message cannot be read: {error}")
            except Exception as error:
                refusal = refusals.refusal_of(error)
            return await context.abort(refusal.code, refusal.message)

        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=handler.response_serializer
        )


def model_spec_of(served: served_version.ServedVersion) -> Any:
    """The `ModelSpec` of an answer: the model's name and its version's number."""
    return model_pb2.ModelSpec(name=served.model_name, version={"value": served.version})


def status_of(
    manager: model_manager.ModelManager, name: str, version: int | None, label: str
) -> Any:
    """A model's `GetModelStatusResponse`.

    Raises:
        Refusal: the model or the version is unknown.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    states = get_model_status_pb2.ModelVersionStatus.State
    for number, state in manager.states(name, version, label):
        entry = response.model_version_status.add(version=number, state=states.Value(state.state))
        entry.status.error_code = state.code.value[0]
        entry.status.error_message = state.message
    return response


def _requested_model(model_spec: Any) -> tuple[str, int | None, str]:
    """Name, version and label in a `ModelSpec`."""
    version = model_spec.version.value if model_spec.HasField("version") else None
    return model_spec.name, version, model_spec.version_label
