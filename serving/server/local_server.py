"""The server itself: both APIs on one event loop, a poll for new versions, and a clean end."""

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as grpc_health

from serving.server.answering import Desk
from serving.server.first_request import first_request
from serving.server.grpc_api import grpc_handlers
from serving.server.limits import GRACE_S, MAX_BODY_BYTES, MAX_PENDING
from serving.server.metrics import Metrics
from serving.server.model_manager import ModelManager
from serving.server.model_source import ModelSource
from serving.server.rest_api import rest_app
from serving.server.rest_server import RestServer
from serving.server.served_version import load_version
from tfrs_twotower.errors import UnsupportedEnvironment

READY_SERVICE = "tensorflow.serving.PredictionService"
"""Health service that is SERVING when every model is; the service "" is while the server runs."""
_HOST = "127.0.0.1"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerOptions:
    """How the server is started."""

    source: ModelSource
    grpc_port: int = 8500
    """0 is a free one."""
    rest_port: int = 8501
    """0 is a free one."""
    batching: bool = True
    """Whether the versions' batching parameters are followed."""
    poll_s: float = 1.0
    """How often it looks for new versions."""


class LocalServer:
    """A running server. Made, started and stopped on one event loop."""

    def __init__(self, options: ServerOptions) -> None:
        """Prepares a server that listens nowhere yet."""
        self._options = options
        num_threads = os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="run")
        self._metrics = Metrics()
        load = partial(load_version, num_threads=num_threads, batching=options.batching)
        self.manager = ModelManager(load, self._threads, self._metrics)
        self._health = grpc_health.HealthServicer()
        self._polling: asyncio.Task[None] | None = None
        self._serving_rest: asyncio.Task[None] | None = None
        self.grpc_port = 0
        self.rest_port = 0

    async def start(self) -> None:
        """Listens on both ports; models are loaded by `load`.

        Raises:
            UnsupportedEnvironment: a port is taken.
        """
        _keep_grpc_up()
        desk = Desk(self.manager, self._metrics)
        self._grpc = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_BODY_BYTES),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", MAX_PENDING),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=MAX_PENDING,
        )
        self._grpc.add_generic_rpc_handlers(grpc_handlers(desk))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        rest_socket = _listen(self._options.rest_port)
        self.rest_port = int(rest_socket.getsockname()[1])
        try:
            self.grpc_port = self._grpc.add_insecure_port(f"{_HOST}:{self._options.grpc_port}")
        except RuntimeError as cause:
            rest_socket.close()
            raise _taken(self._options.grpc_port, "--grpc-port") from cause
        await self._set_ready()
        await self._grpc.start()
        self._rest = RestServer(rest_app(desk))
        self._serving_rest = asyncio.create_task(self._rest.serve(sockets=[rest_socket]))

    async def load(self) -> None:
        """Loads the models, and from then on looks for new versions.

        Raises:
            BundleError: what was asked for is no bundle, or no config.
        """
        config = self._options.source.read()
        await self.manager.configure(config, first=True)
        self._options.source.accept(config)
        await self._set_ready()
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Answers what is under way, refuses what is new, and unloads everything."""
        await self._health.enter_graceful_shutdown()
        if self._polling is not None:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling
        self._rest.should_exit = True
        await self._grpc.stop(GRACE_S)
        if self._serving_rest is not None:
            await self._serving_rest
        await self.manager.close()
        self._threads.shutdown()

    async def _poll(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(self._options.poll_s)
            try:
                await self._look()
                said = ""
            except Exception as error:  # a network mount that is away must not end the polling
                if str(error) != said:
                    said = str(error)
                    _log.error("the models stay as they are: %s", error)
            await self._set_ready()

    async def _look(self) -> None:
        config = await asyncio.to_thread(self._options.source.changed)
        if config is None:
            await self.manager.poll()
        else:
            await self.manager.configure(config)
            self._options.source.accept(config)

    async def _set_ready(self) -> None:
        status = health_pb2.HealthCheckResponse
        await self._health.set(
            READY_SERVICE, status.SERVING if self.manager.ready else status.NOT_SERVING
        )


def serve(options: ServerOptions, say: Callable[[str], None]) -> None:
    """Runs a server until the process is told to end (SIGINT, SIGTERM).

    Args:
        options: how.
        say: is given a line for each port, one when the models are loaded, and a request to try.

    Raises:
        BundleError: there is no bundle.
        UnsupportedEnvironment: a port is taken.
    """
    asyncio.run(_serve(options, say))


async def _serve(options: ServerOptions, say: Callable[[str], None]) -> None:
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_end.set)
    server = LocalServer(options)
    await server.start()
    try:
        say(f"gRPC at {_HOST}:{server.grpc_port}")
        address = f"http://{_HOST}:{server.rest_port}"
        say(f"REST at {address}")
        loading = asyncio.create_task(server.load())
        ending = asyncio.create_task(told_to_end.wait())
        await asyncio.wait({loading, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not told_to_end.is_set():
            await loading
            loaded = [served.loaded for served in server.manager.versions]
            versions = [f"{each.model_name} {each.version}" for each in loaded]
            state = "ready" if server.manager.ready else "not ready, see the log; serving"
            say(f"{state}: {', '.join(versions) or 'nothing'}")
            if loaded:
                say(f"Try: {first_request(loaded[0], address)}")
        await ending
        if not loading.done():
            loading.cancel()
    finally:
        await server.stop()


@contextmanager
def running(options: ServerOptions) -> Iterator[LocalServer]:
    """A server with its models loaded, on a thread of this process; for tests and notebooks.

    Raises:
        BundleError: there is no bundle.
        UnsupportedEnvironment: a port is taken.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="local-server", daemon=True)
    thread.start()

    async def start() -> LocalServer:
        server = LocalServer(options)
        await server.start()
        try:
            await server.load()
        except BaseException:
            await server.stop()
            raise
        return server

    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@functools.cache
def _keep_grpc_up() -> None:
    """Holds gRPC's completion queue for the life of the process.

    Else it is shut down whenever the last server is collected, from within the collector, which
    races with its poller thread (gRPC issue 43364).
    """
    grpc.aio.init_grpc_aio()


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, port))
    except OSError as cause:
        listening.close()
        raise _taken(port, "--rest-port") from cause
    return listening


def _taken(port: int, option: str) -> UnsupportedEnvironment:
    return UnsupportedEnvironment(
        f"port {port} is taken. Choose another with {option}, or 0 for a free one."
    )
