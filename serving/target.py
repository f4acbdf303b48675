"""Where a model is served: `grpc://HOST:PORT/MODEL` or `http://HOST:PORT/MODEL`."""

import re
from dataclasses import dataclass

from tfrs_twotower.errors import EndpointError

_TARGET = re.compile(
    r"(?P<scheme>grpc|https?)://(?P<address>[^/]+)(?:/v1/models)?/(?P<model>[^/:]+)"
    r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>\w+))?/?"
)


@dataclass(frozen=True)
class Target:
    """A model at a server, and which version of it."""

    scheme: str
    """`grpc`, `http` or `https`."""
    address: str
    """`HOST:PORT`."""
    model: str
    version: int | None = None
    """By default the one that the server serves."""
    label: str | None = None

    @property
    def path(self) -> str:
        """Path of the REST endpoint, without the verb."""
        version = "" if self.version is None else f"/versions/{self.version}"
        label = "" if self.label is None else f"/labels/{self.label}"
        return f"/v1/models/{self.model}{version}{label}"


def parse_target(text: str) -> Target:
    """Reads a target.

    Raises:
        EndpointError: it is none.
    """
    found = _TARGET.fullmatch(text)
    if not found:
        raise EndpointError(
            f"'{text}' names no model at a server: expected grpc://HOST:PORT/MODEL or "
            "http://HOST:PORT/MODEL, and behind it /versions/NUMBER or /labels/NAME where it is "
            "not the served version, such as grpc://localhost:8500/movielens_100k.",
            "INVALID_ARGUMENT",
        )
    version = found["version"]
    return Target(
        found["scheme"],
        found["address"],
        found["model"],
        None if version is None else int(version),
        found["label"],
    )
