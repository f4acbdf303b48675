"""The local server: both APIs on one event loop, polling for new versions, graceful shutdown."""

import asyncio
import contextlib
import functools
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc.aio
from anyio.from_thread import start_blocking_portal
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as grpc_health

from serving.server import grpc_api, refusals, rest_api
from serving.server.metrics import Metrics
from serving.server.model_manager import ModelManager
from serving.server.models import ModelSource, read_models
from serving.server.served_version import NUM_THREADS, load_version
from tfrs_twotower.errors import UnsupportedEnvironment

READY_SERVICES = ("PredictionService", "ModelService")
"""Health services that are SERVING when every model serves; the service "" while the server runs.

The names are TensorFlow Serving's, which are not those of the gRPC services."""
_HOST = "127.0.0.1"
_log = logging.getLogger(__name__)
# Keeps gRPC's completion queue for the life of the process. Otherwise the garbage collector shuts
# it down with the last server, which races with its poller thread (gRPC issue 43364).
_keep_grpc_up = functools.cache(grpc.aio.init_grpc_aio)


@dataclass(frozen=True)
class ServerOptions:
    """Settings of a server."""

    source: ModelSource
    grpc_port: int = 8500
    """0 chooses a free port."""
    rest_port: int = 8501
    """0 chooses a free port."""
    batching: bool = True
    """Whether to follow the versions' batching parameters."""
    poll_s: float = 1.0
    """Seconds between two polls for new versions."""


class LocalServer:
    """A server that listens within `async with`, on one event loop; `load` loads the models."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="run")
        metrics = Metrics()
        load = functools.partial(
            load_version, threads=self._threads, metrics=metrics, batching=options.batching
        )
        self.manager = ModelManager(load, metrics)
        self._health = grpc_health.HealthServicer()
        self._rest = rest_api.RestServer(rest_api.rest_app(self.manager, metrics))
        self._config: Any = None
        self._polling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "LocalServer":
        """Listens on both ports.

        Raises:
            UnsupportedEnvironment: a port is taken.
        """
        _keep_grpc_up()
        self._grpc = grpc.aio.server(
            interceptors=[grpc_api.Refusals()],
            options=[
                ("grpc.max_receive_message_length", refusals.MAX_BODY_BYTES),
                ("grpc.max_concurrent_streams", refusals.MAX_PENDING),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=refusals.MAX_PENDING,
        )
        grpc_api.add_services(self.manager, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        port, option = self._options.grpc_port, "--grpc-port"
        try:
            self.grpc_port = self._grpc.add_insecure_port(f"{_HOST}:{port}")
            port, option = self._options.rest_port, "--rest-port"
            rest_socket = socket.create_server((_HOST, port))
        except (OSError, RuntimeError) as cause:
            raise UnsupportedEnvironment(
                f"port {port} is taken. Choose another with {option}, or 0 for a free one."
            ) from cause
        # Connections inherit this option: Nagle's algorithm would delay each answer by 40 ms.
        rest_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest_port = int(rest_socket.getsockname()[1])
        await self._set_ready()
        await self._grpc.start()
        self._serving_rest = asyncio.create_task(self._rest.serve(sockets=[rest_socket]))
        return self

    async def load(self) -> None:
        """Loads the models, and then polls for new versions.

        Raises:
            BundleError: the source has no bundle, or its config is wrong.
        """
        await self._apply_changes(first=True)
        self._polling = asyncio.create_task(self._poll())

    async def __aexit__(self, *_: object) -> None:
        """Answers running requests, refuses new ones, and unloads all versions."""
        if self._polling is not None:
            self._polling.cancel()
        # REST listens until the running requests are answered, so that /readyz can say no.
        answered = asyncio.create_task(self.manager.answered())
        await self._health.enter_graceful_shutdown()
        await self._grpc.stop(refusals.GRACE_S)
        await answered
        self._rest.should_exit = True
        await self._serving_rest
        await self.manager.close()
        self._threads.shutdown()

    async def _poll(self) -> None:
        logged = ""
        while True:
            await asyncio.sleep(self._options.poll_s)
            try:
                await self._apply_changes()
                logged = ""
            except Exception as error:  # an absent network mount must not end the polling
                if str(error) != logged:
                    logged = str(error)
                    _log.error("the models stay as they are: %s", error)

    async def _apply_changes(self, *, first: bool = False) -> None:
        """Applies changes on disk and in the config."""
        try:
            config = await asyncio.to_thread(self._options.source)
            if config == self._config:
                await self.manager.poll()
            else:
                await self.manager.configure(config, first=first)
                self._config = config
        finally:
            await self._set_ready()

    async def _set_ready(self) -> None:
        state = "SERVING" if self.manager.ready else "NOT_SERVING"
        for service in READY_SERVICES:
            await self._health.set(service, getattr(health_pb2.HealthCheckResponse, state))


def serve(options: ServerOptions, say: Callable[[str], None]) -> None:
    """Runs a server until the process is told to end (SIGINT, SIGTERM).

    `say` receives a line for each port, one when the models are loaded, and an example request.

    Raises:
        BundleError: there is no bundle, or its config is wrong.
        UnsupportedEnvironment: a port is taken.
    """
    read_models(options.source())  # what cannot be served is said before a port is
    asyncio.run(_serve(options, say))


async def _serve(options: ServerOptions, say: Callable[[str], None]) -> None:
    async with LocalServer(options) as server:
        serving = asyncio.create_task(_load_and_wait(server, say))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def _load_and_wait(server: LocalServer, say: Callable[[str], None]) -> None:
    """Loads the models, reports which versions serve, and waits until it is cancelled."""
    say(f"gRPC at {_HOST}:{server.grpc_port}")
    address = f"http://{_HOST}:{server.rest_port}"
    say(f"REST at {address}")
    await server.load()
    versions = server.manager.versions
    names = ", ".join(f"{served.model_name} {served.version}" for served in versions)
    state = "ready" if server.manager.ready else "not ready, see the log; serving"
    say(f"{state}: {names or 'nothing'}")
    if versions:
        say(f"Try: {rest_api.example_request(versions[0], address)}")
    await asyncio.Event().wait()


@contextlib.contextmanager
def running(options: ServerOptions) -> Iterator[LocalServer]:
    """A server with its models loaded, on a thread of this process; for tests and notebooks.

    Raises:
        BundleError: there is no bundle.
        UnsupportedEnvironment: a port is taken.
    """
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(LocalServer(options)) as server,
    ):
        portal.call(server.load)
        yield server
