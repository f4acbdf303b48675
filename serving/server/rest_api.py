"""TensorFlow Serving's REST API, metrics, and two routes for probes, over HTTP.

    POST /v1/models/M[/versions/V|/labels/L]:predict
    GET  /v1/models/M[/versions/V|/labels/L]            status of versions
    GET  /v1/models/M[/versions/V|/labels/L]/metadata
    GET  /monitoring/prometheus/metrics
    GET  /livez     200 while the server runs
    GET  /readyz    200 when every model has a version that serves, else 503

Starlette and uvicorn serve it. This module adds what they lack: it reads the whole body before any
answer, and limits the time in which a request must arrive.
"""

import asyncio
import inspect
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import h11
import uvicorn
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.convertors import IntegerConvertor, StringConvertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.server import grpc_api, json_values, model_manager, refusals
from serving.server.metrics import Metrics


def rest_app(manager: model_manager.ModelManager, metrics: Metrics) -> Starlette:
    """The REST API as an ASGI application."""

    async def predict(request: Request) -> Response:
        with metrics.predicting("REST") as running:
            served = manager.find(*_requested_model(request))
            running.model_name = served.model_name
            with served.in_use():
                body = json_values.read_body(await request.body())
                signature = served.signature(body.signature)
                outputs = await served.answer(signature, json_values.arrays_of(body, signature))
            content = json_values.answer_of(
                {name: outputs[name] for name in signature.outputs}, body.rows
            )
            return Response(content, media_type="application/json")

    async def unsupported(request: Request) -> Response:
        verb = request.scope["path"].rpartition(":")[2]
        raise refusals.invalid(f"this server answers :predict only, not :{verb}.")

    async def status(request: Request) -> Response:
        return _json(_plain(grpc_api.status_of(manager, *_requested_model(request))))

    async def metadata(request: Request) -> Response:
        served = manager.find(*_requested_model(request))
        signatures = {"signature_def": _plain(served.definitions)}
        return _json({"model_spec": _plain(grpc_api.model_spec_of(served)), "metadata": signatures})

    async def show_metrics(_: Request) -> Response:
        versions = [
            (served.model_name, served.version, served.model_version, served.written)
            for served in manager.versions
        ]
        return PlainTextResponse(metrics.page(versions))

    async def ready(_: Request) -> Response:
        return PlainTextResponse(*(("ok\n", 200) if manager.ready else ("loading\n", 503)))

    models = [
        _ModelRoute(f"/v1/models/{{name:model}}{version}{what}", endpoint, methods=[method])
        for version in ("", "/versions/{version:version}", "/labels/{label:model}")
        for what, endpoint, method in (
            (":predict", predict, "POST"),
            (":classify", unsupported, "POST"),
            (":regress", unsupported, "POST"),
            ("", status, "GET"),
            ("/metadata", metadata, "GET"),
        )
    ]
    others = [
        Route("/monitoring/prometheus/metrics", show_metrics),
        Route("/livez", PlainTextResponse("ok\n"), methods=["GET"]),
        Route("/readyz", ready),
    ]
    app = Starlette(
        routes=[*models, *others],
        middleware=[Middleware(_WholeBody)],
        exception_handlers={404: _no_route, 405: _no_route},
    )
    app.router.redirect_slashes = False
    return app


class _ModelName(StringConvertor):
    regex = "[^/:]+"


class _Version(IntegerConvertor):
    def convert(self, value: str) -> int:
        if len(value) > 19 or int(value) >= 1 << 63:
            raise refusals.invalid(f"Failed to convert version: {value[:40]} to numeric.")
        return int(value)


register_url_convertor("model", _ModelName())
register_url_convertor("version", _Version())


class _ModelRoute(Route):
    """A route that ignores the case of its fixed words, as TensorFlow Serving does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.path_regex = re.compile(self.path_regex.pattern, re.IGNORECASE)


class _WholeBody:
    """Reads the whole body of a request before any answer, and answers refusals.

    Clients read an answer only after sending their whole request, but uvicorn closes a connection
    right after the answer if the client asked for that. Starlette's own limit answers at once, and
    in plain text.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            body = await _read(Request(scope, receive))

            async def read() -> dict[str, Any]:
                return {"type": "http.request", "body": body}

            with refusals.refusing():
                await self._app(scope, read, send)
        except refusals.Refusal as refusal:
            answer = _json({"error": refusal.message}, refusal.http_status)
            await answer(scope, receive, send)
        except ClientDisconnect:
            pass


class RestServer(uvicorn.Server):
    """Uvicorn without signal handlers: the code that starts the server also stops it."""

    def __init__(self, application: Any) -> None:
        config = uvicorn.Config(
            application,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            limit_concurrency=refusals.MAX_PENDING,
            timeout_graceful_shutdown=refusals.GRACE_S,
        )
        super().__init__(config)

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

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._watch()

    def _watch(self) -> None:
        arriving = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if arriving and not self.transport.is_closing():
            self.timer = self.timer or self.loop.call_later(
                refusals.ARRIVAL_S, self.transport.close
            )
        elif self.timer is not None:
            self.timer.cancel()
            self.timer = None


def _requested_model(request: Request) -> tuple[str, int | None, str]:
    """Name, version and label in a path."""
    parameters = request.path_params
    return parameters["name"], parameters.get("version"), parameters.get("label", "")


async def _read(request: Request) -> bytes:
    """Reads the body; a body that is too large is dropped and refused."""
    body, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= refusals.MAX_BODY_BYTES:
            body += part
        elif size > refusals.MAX_DISCARDED_BYTES:
            break
    if size > refusals.MAX_BODY_BYTES:
        raise refusals.Refusal(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the body has more than {refusals.MAX_BODY_BYTES} bytes, which is the limit.",
        )
    return bytes(body)


async def _no_route(request: Request, _: Exception) -> Response:
    path = request.scope["path"][:200]
    if path.lower().startswith("/v1/"):
        raise refusals.invalid(f"Malformed request: {request.method} {path}")
    raise refusals.not_found(f"there is nothing at {path}")


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
