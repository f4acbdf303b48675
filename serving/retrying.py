"""Asking again, while a deadline lasts."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from tfrs_twotower.errors import EndpointError

_PAUSES_S = (0.05, 0.2)
_Found = TypeVar("_Found")


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
