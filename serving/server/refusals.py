"""Why a request is not answered: a canonical code and a message, and the HTTP status of each code.

The codes and their HTTP statuses are TensorFlow Serving's, but for RESOURCE_EXHAUSTED: here it only
means a body that is too large, which HTTP calls 413.
"""

import grpc

_MAX_MESSAGE = 1000  # an answer's headers hold 8 kB, and a message may quote the request

_HTTP_STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 413,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        """Shortens the message to what fits into headers.

        Args:
            code: canonical code.
            message: what was found, what is allowed.
        """
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
    """A request that cannot be answered by any version."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> Refusal:
    """A model, version or label that is not there."""
    return Refusal(grpc.StatusCode.NOT_FOUND, message)
