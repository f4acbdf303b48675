"""Limits of a request, and refusals: canonical code, message, HTTP status.

Codes and HTTP statuses are those of TensorFlow Serving, except RESOURCE_EXHAUSTED: here it only
means that a body is too large, which is status 413 in HTTP.
"""

import logging

import grpc

from tfrs_twotower.errors import TwoTowerError

MAX_BODY_BYTES = 4 << 20
"""Largest body of a request in either API; also the default of gRPC."""
MAX_DISCARDED_BYTES = 64 << 20
"""Bytes of a larger body that are read and dropped, so that the sender can read the answer."""
MAX_ROWS = 1024
"""Largest number of rows of a request; a version's batching parameters may allow fewer."""
MAX_VALUES = 1 << 16
"""Largest number of values in one input of a request or a padded batch: 64 rows of 1,024."""
MAX_BATCH_BYTES = 16 << 20
"""Largest input of a padded batch; requests beyond it run alone and unpadded."""
MAX_STRING_BYTES = 1 << 16
"""Longest string, or serialized Example."""
MAX_PENDING = 1000
"""Largest number of waiting requests of one API; over HTTP also of connections."""
ARRIVAL_S = 30.0
"""Time in which headers and body of an HTTP request must arrive, in seconds, as in TF Serving."""
GRACE_S = 5
"""Time that running requests have when the server is stopped, in seconds."""

_MAX_MESSAGE = 1000  # headers of an answer hold 8 kB, and messages may quote the request
_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 413,
    grpc.StatusCode.UNAVAILABLE: 503,
}
_log = logging.getLogger(__name__)


class Refusal(Exception):
    """The answer to a request that fails: a canonical code and a message."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        if len(message) > _MAX_MESSAGE:
            message = f"{message[:_MAX_MESSAGE]}..."
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status of the code; 500 if it has none of its own."""
        return _HTTP_STATUS.get(self.code, 500)


def invalid(message: str) -> Refusal:
    """The refusal of a request that no version can answer."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> Refusal:
    """The refusal of a request for a model, version or label that does not exist."""
    return Refusal(grpc.StatusCode.NOT_FOUND, message)


def refusal_of(error: Exception) -> Refusal:
    """The refusal that an exception becomes; an exception that nobody foresaw is logged."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, TwoTowerError):
        return invalid(str(error))
    _log.error("a request failed", exc_info=error)
    first_line = str(error).partition("\n")[0]
    return Refusal(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {first_line}")
