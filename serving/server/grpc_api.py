"""TensorFlow Serving's gRPC API: PredictionService and ModelService.

Requests are read here and not by gRPC, which would answer a malformed one with an internal error.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from serving.server.answering import Desk, refusing
from serving.server.refusals import Refusal, invalid
from serving.server.served_version import ServedVersion
from serving.server.signatures import DEFAULT
from serving.server.tensor_protos import array_of, proto_of

_SIGNATURE_DEF = "signature_def"
_NOT_BUILT = ("Classify", "Regress", "MultiInference")
_Handler = Callable[[Any], Awaitable[Any]]


def grpc_handlers(desk: Desk) -> tuple[Any, ...]:
    """The generic handlers of both services."""
    services: dict[str, dict[str, tuple[Any, _Handler]]] = {
        "PredictionService": {
            "Predict": (predict_pb2.PredictRequest, lambda request: _predict(desk, request)),
            "GetModelMetadata": (
                get_model_metadata_pb2.GetModelMetadataRequest,
                lambda request: _metadata(desk, request),
            ),
        },
        "ModelService": {
            "GetModelStatus": (
                get_model_status_pb2.GetModelStatusRequest,
                lambda request: _status(desk, request),
            ),
            "HandleReloadConfigRequest": (
                model_management_pb2.ReloadConfigRequest,
                lambda request: _reload(desk, request),
            ),
        },
    }
    handlers = {
        service: {name: _rpc(*method) for name, method in methods.items()}
        for service, methods in services.items()
    }
    for name in _NOT_BUILT:
        handlers["PredictionService"][name] = grpc.unary_unary_rpc_method_handler(_not_built)
    return tuple(
        grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", methods)
        for service, methods in handlers.items()
    )


def find_version(desk: Desk, model_spec: Any) -> ServedVersion:
    """The version that a `ModelSpec` names.

    Raises:
        Refusal: there is none, or the spec names no model.
    """
    if not model_spec.name:
        raise invalid("Missing ModelSpec, or its name")
    version = model_spec.version.value if model_spec.HasField("version") else None
    return desk.manager.find(model_spec.name, version, model_spec.version_label)


def metadata_of(served: ServedVersion) -> Any:
    """A version's `GetModelMetadataResponse`."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = served.loaded.model_name
    response.model_spec.version.value = served.loaded.version
    definitions = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in served.loaded.definitions.items():
        definitions.signature_def[name].CopyFrom(definition)
    response.metadata[_SIGNATURE_DEF].Pack(definitions)
    return response


def status_of(desk: Desk, name: str, version: int | None, label: str) -> Any:
    """A model's `GetModelStatusResponse`.

    Raises:
        Refusal: the model or the version is not known.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    states = get_model_status_pb2.ModelVersionStatus.State
    for number, state in desk.manager.states(name, version, label):
        entry = response.model_version_status.add(version=number, state=states.Value(state.state))
        entry.status.error_code = state.code.value[0]
        entry.status.error_message = state.message
    return response


async def _predict(desk: Desk, request: Any) -> Any:
    with desk.predicting("GRPC") as asked:
        served = find_version(desk, request.model_spec)
        asked.model_name = served.loaded.model_name
        with served.in_use():
            signature = served.signature(request.model_spec.signature_name)
            wanted = signature.wanted_outputs(request.output_filter)
            signature.check_names(request.inputs.keys())
            inputs = {
                name: array_of(signature, name, proto) for name, proto in request.inputs.items()
            }
            outputs = await served.answer(signature, inputs)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = request.model_spec.signature_name or DEFAULT
        response.model_spec.version.value = served.loaded.version
        for name in wanted:
            response.outputs[name].CopyFrom(proto_of(outputs[name]))
        return response


async def _metadata(desk: Desk, request: Any) -> Any:
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _SIGNATURE_DEF:
            raise invalid(f"Metadata field {field[:100]} is not supported")
    return metadata_of(find_version(desk, request.model_spec))


async def _status(desk: Desk, request: Any) -> Any:
    spec = request.model_spec
    if not spec.name:
        raise invalid("Missing ModelSpec, or its name")
    version = spec.version.value if spec.HasField("version") else None
    return status_of(desk, spec.name, version, spec.version_label)


async def _reload(desk: Desk, request: Any) -> Any:
    await desk.manager.configure(request.config)
    return model_management_pb2.ReloadConfigResponse()


async def _not_built(_: bytes, context: Any) -> NoReturn:
    await context.abort(
        grpc.StatusCode.INVALID_ARGUMENT,
        "this server answers Predict only; bundles have no classify or regress signatures.",
    )
    raise AssertionError("abort raises")


def _rpc(message: Any, handler: _Handler) -> Any:
    async def answer(data: bytes, context: Any) -> bytes:
        try:
            with refusing():
                return bytes((await handler(_read(message, data))).SerializeToString())
        except Refusal as refusal:
            await context.abort(refusal.code, refusal.message)
            raise

    return grpc.unary_unary_rpc_method_handler(answer)


def _read(message: Any, data: bytes) -> Any:
    try:
        return message.FromString(data)
    except DecodeError as cause:
        raise invalid(f"not a {message.DESCRIPTOR.full_name}: {cause}") from cause
