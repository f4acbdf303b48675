"""Where a model is served, and asking it again while a deadline lasts."""

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tfrs_twotower.errors import EndpointError

_TARGET = re.compile(
    r"(?P<scheme>grpc|https?)://(?P<address>[^/]+)(?:/v1/models)?/(?P<model>[^/:]+)"
    r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>\w+))?/?"
)
_PAUSES_S = (0.05, 0.2)
_Found = TypeVar("_Found")


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
    parts = _TARGET.fullmatch(text)
    if not parts:
        raise EndpointError(
            f"'{text}' names no model at a server: expected grpc://HOST:PORT/MODEL or "
            "http://HOST:PORT/MODEL, and behind it /versions/NUMBER or /labels/NAME where it is "
            "not the served version, such as grpc://localhost:8500/movielens_100k.",
            "INVALID_ARGUMENT",
        )
    version = parts["version"]
    return Target(
        parts["scheme"],
        parts["address"],
        parts["model"],
        None if version is None else int(version),
        parts["label"],
    )


def retrying(ask: Callable[[float], _Found], deadline: float, code: str = "UNAVAILABLE") -> _Found:
    """Asks up to three times, with pauses of random length between.

    Only after one code. By default that of a server that was not reached, that has no room, or
    whose connection broke; it may have seen the request then, which does no harm: Predict and
    GetModelMetadata change nothing.

    Args:
        ask: is given the seconds that are left.
        deadline: by `time.monotonic()`; nothing is asked after it, and a pause that would outlast
            it is not made.
        code: the code after which to ask again.

    Raises:
        EndpointError: of the last attempt; `DEADLINE_EXCEEDED` if there was no time for one.
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
            "DEADLINE_EXCEEDED: the time was over before the server could be asked; give a longer "
            "timeout_s.",
            "DEADLINE_EXCEEDED",
        )
    return left_s
