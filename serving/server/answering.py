"""What both APIs do around a request: count it, bound how many wait, name what went wrong."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from serving.server.limits import MAX_PENDING
from serving.server.metrics import Metrics
from serving.server.model_manager import ModelManager
from serving.server.refusals import Refusal

_log = logging.getLogger(__name__)


@dataclass
class Desk:
    """Where requests of both APIs arrive."""

    manager: ModelManager
    metrics: Metrics
    pending: int = field(default=0, init=False)

    @contextmanager
    def predicting(self, entrypoint: str) -> Iterator["Asked"]:
        """Around a predict request of either API.

        Args:
            entrypoint: `GRPC` or `REST`.

        Raises:
            Refusal: what the block raises, in words of the API; or too many requests wait.
        """
        asked, started, status = Asked(), time.monotonic(), grpc.StatusCode.OK
        self.pending += 1
        try:
            with refusing():
                if self.pending > MAX_PENDING:
                    raise Refusal(
                        grpc.StatusCode.UNAVAILABLE, f"more than {MAX_PENDING} requests wait."
                    )
                yield asked
        except Refusal as refusal:
            status = refusal.code
            raise
        except BaseException:  # the client has gone
            status = grpc.StatusCode.CANCELLED
            raise
        finally:
            self.pending -= 1
            self.metrics.request_count.add(asked.model_name, status.name)
            self.metrics.request_latency.observe(
                (time.monotonic() - started) * 1e6, asked.model_name, "Predict", entrypoint
            )


@dataclass
class Asked:
    """What becomes known of a request while it is answered."""

    model_name: str = ""
    """Of a model that is served: labels of metrics are no place for what strangers send."""


@contextmanager
def refusing() -> Iterator[None]:
    """Turns whatever goes wrong into a refusal; what nobody foresaw is logged.

    Raises:
        Refusal: something went wrong.
    """
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        _log.exception("a request failed")
        raise Refusal(
            grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error
