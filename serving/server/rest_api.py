"""TensorFlow Serving's REST API as an ASGI application, metrics, and two routes for probes.

    POST /v1/models/M[/versions/V|/labels/L]:predict
    GET  /v1/models/M[/versions/V|/labels/L]            status of versions
    GET  /v1/models/M[/versions/V|/labels/L]/metadata
    GET  /monitoring/prometheus/metrics
    GET  /livez     200 while the server runs
    GET  /readyz    200 when every model has a version that serves, else 503

Paths are matched without regard to case, but for the model's name and the label.
"""

import json
import re
from typing import Any

import grpc
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.server.answering import Desk, refusing
from serving.server.grpc_api import metadata_of, status_of
from serving.server.json_values import answer_of, arrays_of, read_body
from serving.server.limits import MAX_BODY_BYTES, MAX_DISCARDED_BYTES
from serving.server.refusals import Refusal, invalid

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(_MODEL + r":(?P<verb>predict|classify|regress)", re.IGNORECASE | re.ASCII)
_LOOK = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.IGNORECASE | re.ASCII)
_LARGEST_VERSION = (1 << 63) - 1


def rest_app(desk: Desk) -> Starlette:
    """The application.

    Args:
        desk: that answers.
    """

    async def models(request: Request) -> Response:
        try:
            # Whatever the path: a sender reads no answer before it has sent everything.
            body = await _read(request)
            with refusing():
                return _json(await _answer(desk, request, body))
        except Refusal as refusal:
            return _json(json.dumps({"error": refusal.message}).encode(), refusal.http_status)
        except ClientDisconnect:
            return Response(status_code=499)

    async def metrics(_: Request) -> Response:
        versions = [
            (each.loaded.model_name, each.loaded.version, each.model_version, each.loaded.written)
            for each in desk.manager.versions
        ]
        return PlainTextResponse(desk.metrics.page(versions))

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        return PlainTextResponse(*(("ok\n", 200) if desk.manager.ready else ("loading\n", 503)))

    return Starlette(
        routes=[
            Route("/monitoring/prometheus/metrics", metrics, methods=["GET"]),
            Route("/livez", alive, methods=["GET"]),
            Route("/readyz", ready, methods=["GET"]),
            Route("/{path:path}", models, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
        ]
    )


async def _answer(desk: Desk, request: Request, body: bytes) -> bytes:
    path = str(request.scope["path"])
    if request.method == "POST" and (found := _PREDICT.fullmatch(path)):
        if found["verb"].lower() != "predict":
            raise invalid(f"this server answers :predict only, not :{found['verb']}.")
        return await _predict(desk, found["name"], _version(found), found["label"] or "", body)
    if request.method == "GET" and (found := _LOOK.fullmatch(path)):
        name, version, label = found["name"], _version(found), found["label"] or ""
        if found["metadata"]:
            return _metadata(metadata_of(desk.manager.find(name, version, label)))
        return _message(status_of(desk, name, version, label))
    if path.lower().startswith("/v1/"):
        raise invalid(f"Malformed request: {request.method} {path[:200]}")
    raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is nothing at {path[:200]}")


async def _predict(desk: Desk, name: str, version: int | None, label: str, body: bytes) -> bytes:
    with desk.predicting("REST") as asked:
        served = desk.manager.find(name, version, label)
        asked.model_name = served.loaded.model_name
        with served.in_use():
            read = read_body(body)
            signature = served.signature(read.signature)
            outputs = await served.answer(signature, arrays_of(read, signature))
        return answer_of({name: outputs[name] for name in signature.outputs}, read.rows)


async def _read(request: Request) -> bytes:
    """The body; of one that is too large nothing is kept."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        else:
            parts.clear()
        if size > MAX_DISCARDED_BYTES:
            break
    if size > MAX_BODY_BYTES:
        raise Refusal(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the body has more than {MAX_BODY_BYTES} bytes, which is the limit.",
        )
    return b"".join(parts)


def _version(found: re.Match[str]) -> int | None:
    text = found["version"]
    if text is None:
        return None
    if len(text) > 30 or int(text) > _LARGEST_VERSION:
        raise invalid(f"Failed to convert version: {text[:40]} to numeric.")
    return int(text)


def _metadata(response: Any) -> bytes:
    definitions = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(definitions)
    content = {
        "model_spec": _plain(response.model_spec),
        "metadata": {"signature_def": _plain(definitions)},
    }
    return json.dumps(content).encode()


def _message(message: Any) -> bytes:
    return json.dumps(_plain(message)).encode()


def _plain(message: Any) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")
