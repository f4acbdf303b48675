"""A process of its own for locust, which makes the standard library cooperative when imported.

    python -m serving.load_test.locust_process DIRECTORY

DIRECTORY holds `plan.json` and the requests `0.request`, `1.request`, ...; `found.json` is written
into it. TensorFlow is not imported here: requests are bytes already.
"""

# Locust must be the first: it patches sockets and threads before anybody uses them.
import locust  # isort: skip

import http.client
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import grpc
import grpc.experimental.gevent
from locust.env import Environment

_METHOD = "/tensorflow.serving.PredictionService/Predict"
_TIMEOUT_S = 30.0
_LONGEST_ERROR = 200


class Asking(locust.User):
    """Sends one request after the other, over a connection of its own."""

    abstract = True
    plan: dict[str, Any]
    bodies: "itertools.cycle[bytes]"

    def on_start(self) -> None:
        """Connects; the first answer is not counted."""
        self.send = self._over_grpc() if self.plan["scheme"] == "grpc" else self._over_http()
        self.send(next(self.bodies))

    @locust.task
    def ask(self) -> None:
        """One request."""
        body = next(self.bodies)
        started = time.perf_counter()
        error = self.send(body)
        self.environment.events.request.fire(
            request_type=self.plan["scheme"],
            name="predict",
            response_time=(time.perf_counter() - started) * 1000.0,
            response_length=0,
            exception=error,
            context={},
        )

    def _over_grpc(self) -> Any:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        channel = grpc.insecure_channel(self.plan["address"], options=options)
        call = channel.unary_unary(_METHOD)

        def send(body: bytes) -> Exception | None:
            try:
                call(body, timeout=_TIMEOUT_S)
            except grpc.RpcError as error:
                return RuntimeError(f"{error.code().name}: {error.details()}"[:_LONGEST_ERROR])
            return None

        return send

    def _over_http(self) -> Any:
        secure = self.plan["scheme"] == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self.plan["address"], timeout=_TIMEOUT_S)
        headers = {"Content-Type": "application/json"}

        def send(body: bytes) -> Exception | None:
            try:
                connection.request("POST", f"{self.plan['path']}:predict", body, headers)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                return RuntimeError(f"{type(error).__name__}: {error}"[:_LONGEST_ERROR])
            if response.status == http.client.OK:
                return None
            text = f"HTTP {response.status}: {answer.decode(errors='replace')}"
            return RuntimeError(text[:_LONGEST_ERROR])

        return send


def run(directory: Path) -> None:
    """Runs the plan and writes what was found."""
    grpc.experimental.gevent.init_gevent()
    plan = json.loads((directory / "plan.json").read_text(encoding="utf-8"))
    paths = sorted(directory.glob("*.request"), key=lambda path: int(path.stem))
    bodies = itertools.cycle([path.read_bytes() for path in paths])
    user = type("Replaying", (Asking,), {"plan": plan, "bodies": bodies})
    # Locust rounds times to whole milliseconds: they are kept here as they are.
    times: list[float] = []
    errors: dict[str, int] = {}

    def keep(response_time: float, exception: Exception | None, **_: Any) -> None:
        if exception is None:
            times.append(response_time)
        else:
            errors[str(exception)] = errors.get(str(exception), 0) + 1

    environment = Environment(user_classes=[user])
    environment.events.request.add_listener(keep)
    runner = environment.create_local_runner()
    runner.start(plan["users"], spawn_rate=plan["users"])
    started = time.monotonic()
    gevent.sleep(plan["duration_s"])
    seconds = time.monotonic() - started
    found = {"milliseconds": list(times), "errors": dict(errors), "seconds": seconds}
    runner.quit()
    (directory / "found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
