"""TensorFlow Serving's REST API, metrics, and two routes for probes, over HTTP.

    POST /v1/models/M[/versions/V|/labels/L]:predict
    GET  /v1/models/M[/versions/V|/labels/L]            status of versions
    GET  /v1/models/M[/versions/V|/labels/L]/metadata
    GET  /monitoring/prometheus/metrics
    GET  /livez     200 while the server runs
    GET  /readyz    200 when every model has a version that serves, else 503, as when it stops

Starlette and uvicorn serve it. This module adds what they lack: it reads the whole body before any
answer, and limits the time in which a request must arrive.
"""

import asyncio
import inspect
import json
import re
import shlex
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import h11
import uvicorn
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.server import grpc_api, json_values, refusals
from serving.server.metrics import Metrics
from serving.server.model_manager import ModelManager
from serving.server.request_tensors import DEFAULT
from serving.server.served_version import ServedVersion


def rest_app(manager: ModelManager, metrics: Metrics) -> Starlette:
    """The REST API as an ASGI application."""

    async def predict(request: Request) -> Response:
        api, model = request.scope["path"].rpartition(":")[2], request.path_params["model"]
        with manager.predicting("REST", api, *model) as served:
            body = json_values.read_body(await request.body())
            signature = served.signature(body.signature, grpc.StatusCode.INVALID_ARGUMENT)
            outputs = await served.answer(signature, json_values.arrays_of(body, signature))
            ordered = {name: outputs[name] for name in signature.outputs}
            content = json_values.answer_of(ordered, body.rows)
        return Response(content, media_type="application/json")

    async def unsupported(_: Request) -> Response:
        raise refusals.invalid("this server answers :predict only.")

    async def status(request: Request) -> Response:
        return _json(_plain(grpc_api.status_of(manager, *request.path_params["model"])))

    async def metadata(request: Request) -> Response:
        served = manager.find(*request.path_params["model"])
        signatures = {"signature_def": _plain(served.definitions)}
        return _json({"model_spec": _plain(grpc_api.model_spec_of(served)), "metadata": signatures})

    async def show_metrics(_: Request) -> Response:
        rows = [(v.model_name, v.version, v.model_version, v.written) for v in manager.versions]
        return PlainTextResponse(metrics.page(rows))

    async def ready(_: Request) -> Response:
        return PlainTextResponse(*(("ok\n", 200) if manager.ready else ("not ready\n", 503)))

    model = "/v1/models/{model:model}"
    models = [
        Route(f"{model}:predict", predict, methods=["POST"]),
        Route(f"{model}:classify", unsupported, methods=["POST"]),
        Route(f"{model}:regress", unsupported, methods=["POST"]),
        Route(model, status),
        Route(f"{model}/metadata", metadata),
    ]
    for route in models:  # as in TensorFlow Serving, the case of the fixed words does not matter
        route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
        route.methods = {method for method in route.methods or () if method != "HEAD"}
    others = [
        Route("/monitoring/prometheus/metrics", show_metrics),
        Route("/livez", PlainTextResponse("ok\n"), methods=["GET"]),
        Route("/readyz", ready),
    ]
    app = Starlette(
        routes=[*models, *others],
        middleware=[Middleware(_with_whole_body)],
        exception_handlers={404: _no_route, 405: _no_route},
    )
    app.router.redirect_slashes = False
    return app


class _Model(Convertor[tuple[str, int | None, str]]):
    """Name, version and label of a model in a path."""

    regex = "[^/:]+(?:/versions/[0-9]+|/labels/[^/:]+)?"

    def convert(self, value: str) -> tuple[str, int | None, str]:
        name, _, rest = value.partition("/")
        kind, _, which = rest.partition("/")
        if kind.lower() != "versions":
            return name, None, which
        if len(which) > 19 or int(which) >= 1 << 63:
            raise refusals.invalid(f"Failed to convert version: {which[:40]} to numeric.")
        return name, int(which), ""


register_url_convertor("model", _Model())


def _with_whole_body(app: Any) -> Any:
    """Reads the whole body of a request before any answer, and answers refusals.

    Clients read an answer only after sending their whole request, but uvicorn closes a connection
    right after the answer if the client asked for that. Starlette's own limit answers at once, and
    in plain text.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        try:
            body = await _read(Request(scope, receive))
            if scope["query_string"] and scope["path"].lower().startswith("/v1/"):
                raise _malformed(scope)  # no path of TensorFlow Serving has a query

            async def read() -> dict[str, Any]:
                return {"type": "http.request", "body": body}

            await app(scope, read, send)
        except ClientDisconnect:
            pass
        except Exception as error:
            refusal = refusals.refusal_of(error)
            await _json({"error": refusal.message}, refusal.http_status)(scope, receive, send)

    return answer


def example_request(served: ServedVersion, address: str) -> str:
    """A `curl` line that asks a model's default signature for a query whose values are missing."""
    row = {name: values.tolist()[0] for name, values in served.bundle.missing(DEFAULT).items()}
    body = shlex.quote(json.dumps({"instances": [row]}, default=bytes.decode))
    return f"curl {address}/v1/models/{served.model_name}:predict -d {body}"


class RestServer(uvicorn.Server):
    """Uvicorn without signal handlers: the code that starts the server also stops it."""

    def __init__(self, application: Any) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                limit_concurrency=refusals.MAX_PENDING,
                timeout_graceful_shutdown=refusals.GRACE_S,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the handlers of signals unchanged."""
        yield


class _Connection(H11Protocol):
    """A connection that is closed if a request takes too long to arrive.

    Uvicorn's own timer only runs between requests, so a client that sends a byte now and then could
    hold a connection forever. Arriving bytes do not restart this timer.
    """

    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            close = self.transport.close  # without effect on a connection that is gone
            self.timer = self.timer or self.loop.call_later(refusals.ARRIVAL_S, close)
        elif self.timer is not None:
            self.timer.cancel()
            self.timer = None


async def _read(request: Request) -> bytes:
    """Reads the body; a body that is too large is dropped and refused."""
    body, size, limit = bytearray(), 0, refusals.MAX_BODY_BYTES
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            body += part
        elif size > refusals.MAX_DISCARDED_BYTES:
            break
    _check_size(size)
    if "gzip" in request.headers.get("content-encoding", ""):
        return _inflated(bytes(body))
    return bytes(body)


def _inflated(body: bytes) -> bytes:
    """The content of a gzip stream; no more of it than the limit is ever in memory."""
    content, stream = b"", zlib.decompressobj(wbits=31)
    with suppress(zlib.error):
        content = stream.decompress(body, refusals.MAX_BODY_BYTES + 1)
    _check_size(len(content))
    if not stream.eof:
        raise refusals.invalid("the body is not a whole gzip stream, which its header says it is.")
    return content


def _check_size(size: int) -> None:
    if size > refusals.MAX_BODY_BYTES:
        limit = refusals.MAX_BODY_BYTES
        message = f"the body has more than {limit} bytes, which is the limit."
        raise refusals.Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


async def _no_route(request: Request, _: Exception) -> Response:
    path = request.scope["path"][:200]
    if not path.lower().startswith("/v1/"):
        raise refusals.not_found(f"there is nothing at {path}")
    if request.method != "OPTIONS":
        raise _malformed(request.scope)
    if not re.search("https?://", request.headers.get("origin", "")):
        missing = "Origin header is missing in CORS preflight"
        raise refusals.Refusal(grpc.StatusCode.FAILED_PRECONDITION, missing)
    return Response()


def _malformed(scope: Any) -> refusals.Refusal:
    return refusals.invalid(f"Malformed request: {scope['method']} {scope['path'][:200]}")


def _plain(message: Any) -> Any:
    with_empty_fields = "always_print_fields_with_no_presence"
    if with_empty_fields not in inspect.signature(json_format.MessageToDict).parameters:
        with_empty_fields = "including_default_value_fields"  # its name before protobuf 5
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, **{with_empty_fields: True}
    )


def _json(content: Any, status: int = 200) -> Response:
    # ASCII, because a message may quote half a surrogate pair, which UTF-8 cannot encode.
    return Response(json.dumps(content), status, media_type="application/json")
