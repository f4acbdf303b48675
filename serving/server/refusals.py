"""Limits of one request, and how a request is refused: canonical code, message, HTTP status.

The codes and their HTTP statuses are TensorFlow Serving's, except RESOURCE_EXHAUSTED: here it only
means a body that is too large, which HTTP calls 413.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

MAX_BODY_BYTES = 4 << 20
"""Largest body of a request in either API; gRPC's own default."""
MAX_DISCARDED_BYTES = 64 << 20
"""How much of a larger body is read and dropped, so that its sender can read the answer."""
MAX_ROWS = 1024
"""Most rows of a request; a version's batching parameters allow fewer."""
MAX_VALUES = 1 << 16
"""Most values in one input, of a request or of a padded batch: 64 rows of 1,024."""
MAX_BATCH_BYTES = 16 << 20
"""Largest input of a padded batch; requests that would exceed it run apart and unpadded."""
MAX_STRING_BYTES = 1 << 16
"""Longest string, or serialized Example."""
MAX_PENDING = 1000
"""Most requests of one API that wait for an answer at one time; over HTTP also connections."""
ARRIVAL_S = 30.0
"""Time in which an HTTP request must arrive, headers and body; TensorFlow Serving's own limit."""
GRACE_S = 5
"""Time for running requests when the server is told to end, in seconds."""

_MAX_MESSAGE = 1000  # an answer's headers hold 8 kB, and a message may quote the request
_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 413,
    grpc.StatusCode.UNAVAILABLE: 503,
}
_log = logging.getLogger(__name__)


class Refusal(Exception):
    """A request that is answered with an error: a canonical code and a message."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        if len(message) > _MAX_MESSAGE:
            message = f"{message[:_MAX_MESSAGE]}..."
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status of the code; 500 where it has none of its own."""
        return _HTTP_STATUS.get(self.code, 500)


def invalid(message: str) -> Refusal:
    """A request that no version can answer."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> Refusal:
    """A model, version or label that is not there."""
    return Refusal(grpc.StatusCode.NOT_FOUND, message)


@contextmanager
def refusing() -> Iterator[None]:
    """Turns every exception into a refusal, and logs those that nobody foresaw.

    Raises:
        Refusal: the block raised an exception.
    """
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        _log.exception("a request failed")
        first_line = str(error).partition("\n")[0]
        message = f"{type(error).__name__}: {first_line}"
        raise Refusal(grpc.StatusCode.INTERNAL, message) from error
