"""The address of a served model, and requests that are repeated until a deadline."""

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from serving.client.tls import Tls
from tfrs_twotower.errors import EndpointError

_TARGET = re.compile(
    r"(?P<scheme>grpcs?|https?)://(?P<address>[^/]+)(?:/v1/models)?/(?P<model>[^/:]+)"
    r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>\w+))?/?"
)
_PAUSES_S = (0.05, 0.2)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Target:
    """A model at a server, and optionally one of its versions."""

    scheme: str
    """`grpc`, `grpcs`, `http` or `https`; those with an s are encrypted."""
    address: str
    """`HOST:PORT`."""
    model: str
    version: int | None = None
    """By default the version that the server chooses."""
    label: str | None = None
    tls: Tls = field(default_factory=Tls)
    """Certificates for an encrypted connection."""

    @property
    def is_grpc(self) -> bool:
        """Whether requests go over gRPC; otherwise over REST."""
        return self.scheme in ("grpc", "grpcs")

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("grpcs", "https")

    @property
    def description(self) -> str:
        """Address and model, for messages."""
        return f"{self.address}, model '{self.model}'"

    @property
    def path(self) -> str:
        """Path of the REST endpoint, without the verb."""
        version = "" if self.version is None else f"/versions/{self.version}"
        label = "" if self.label is None else f"/labels/{self.label}"
        return f"/v1/models/{self.model}{version}{label}"


def parse_target(text: str, tls: Tls | None = None) -> Target:
    """Parses a target.

    Args:
        text: the target.
        tls: certificates, for an encrypted connection.

    Raises:
        EndpointError: the text does not have the form grpc://HOST:PORT/MODEL or
            http://HOST:PORT/MODEL; or there are certificates, but nothing is encrypted.
    """
    match = _TARGET.fullmatch(text)
    if not match:
        raise EndpointError(
            f"'{text}' does not name a model at a server: expected grpc://HOST:PORT/MODEL or "
            "http://HOST:PORT/MODEL, optionally followed by /versions/NUMBER or /labels/NAME, such "
            "as grpc://localhost:8500/movielens_100k; grpcs:// and https:// encrypt.",
            "INVALID_ARGUMENT",
        )
    version = match["version"]
    target = Target(
        match["scheme"],
        match["address"],
        match["model"],
        None if version is None else int(version),
        match["label"],
        tls or Tls(),
    )
    if target.tls and not target.is_encrypted:
        raise EndpointError(
            f"'{text}': certificates are given, but {target.scheme}:// does not encrypt. Write "
            f"{'grpcs' if target.is_grpc else 'https'}://, or leave the certificates out.",
            "INVALID_ARGUMENT",
        )
    return target


def retrying(
    ask: Callable[[float], _Answer], deadline: float, code: str = "UNAVAILABLE"
) -> _Answer:
    """Sends a request up to three times, with pauses of random length between the attempts.

    Only errors with one code are repeated. The default is the code of a server that was not
    reached, has no capacity, or lost the connection. Such a server may have seen the request, which
    does no harm, because Predict and GetModelMetadata change nothing.

    Args:
        ask: sends the request; it receives the seconds that are left.
        deadline: by `time.monotonic()`; no attempt starts after it, and no pause outlasts it.
        code: the code after which to ask again.

    Raises:
        EndpointError: that of the last attempt; `DEADLINE_EXCEEDED` if there was no time for one.
    """
    for pause_s in _PAUSES_S:
        try:
            return ask(_left_s(deadline))
        except EndpointError as error:
            pause_s *= random.uniform(0.5, 1.5)  # noqa: S311
            if error.code != code or time.monotonic() + pause_s >= deadline:
                raise
        time.sleep(pause_s)
    return ask(_left_s(deadline))


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0.0:
        raise EndpointError(
            "DEADLINE_EXCEEDED: the deadline passed before a request could be sent; give a longer "
            "timeout_s.",
            "DEADLINE_EXCEEDED",
        )
    return left_s
