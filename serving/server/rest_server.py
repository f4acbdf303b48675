"""The HTTP server under the REST API, with limits on connections and on the time of a request."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.server.limits import ARRIVAL_S, GRACE_S, MAX_CONNECTIONS


class RestServer(uvicorn.Server):
    """Uvicorn without its own signal handlers: the server as a whole ends, not this half."""

    def __init__(self, application: Any) -> None:
        """Prepares a server of an ASGI application."""
        config = uvicorn.Config(
            application,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=int(GRACE_S),
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to whoever started the server."""
        yield


class _Connection(H11Protocol):
    """A connection that is closed if a request has not wholly arrived some time after it began.

    Uvicorn's own timer runs between requests only: a client that sends a byte now and then could
    hold a connection for ever. Bytes that arrive do not start this one again.
    """

    arriving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._rest()

    def _watch(self) -> None:
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._rest()
        elif self.arriving is None:
            self.arriving = self.loop.call_later(ARRIVAL_S, self.transport.close)

    def _rest(self) -> None:
        if self.arriving is not None:
            self.arriving.cancel()
            self.arriving = None
