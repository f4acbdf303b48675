"""A separate process for locust, which patches the standard library when it is imported.

    python -m serving.load_test.locust_process DIRECTORY

DIRECTORY holds `plan.json` and the requests `0.request`, `1.request`, ...; `measured.json` and
`report.html` are written into it. TensorFlow is not imported here, because requests are bytes
already. Locust runs the users and writes the report. It has no user for gRPC, so this module sends
the requests of both APIs.
"""

# Locust must come first: it patches sockets and threads before they are used.
import locust  # isort: skip

import http.client
import itertools
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
import grpc
import grpc.experimental.gevent
import locust.stats
from locust.env import Environment
from locust.html import get_html_report

from serving.client.tls import Tls

_METHOD = "/tensorflow.serving.PredictionService/Predict"
_TIMEOUT_S = 30.0
_MAX_ERROR_CHARS = 200


class ReplayingUser(locust.User):
    """Sends one request after the other over its own connection."""

    abstract = True
    plan: dict[str, Any]
    bodies: "itertools.cycle[bytes]"

    def on_start(self) -> None:
        """Connects; the first answer is not counted."""
        over_grpc = self.plan["scheme"] in ("grpc", "grpcs")
        self.send = self._over_grpc() if over_grpc else self._over_http()
        self.send(next(self.bodies))

    @locust.task
    def predict(self) -> None:
        """Sends one request."""
        body = next(self.bodies)
        started = time.perf_counter()
        error = self.send(body)
        milliseconds = (time.perf_counter() - started) * 1000.0
        # Errors get no time, so that locust (since 2.47) leaves them out of its percentiles.
        self.environment.events.request.fire(
            request_type=self.plan["scheme"],
            name="predict",
            response_time=None if error else milliseconds,
            response_length=0,
            exception=error,
            context={},
        )

    def _over_grpc(self) -> Any:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        if self.plan["scheme"] == "grpcs":
            credentials = Tls(**self.plan["tls"]).channel_credentials()
            channel = grpc.secure_channel(self.plan["address"], credentials, options)
        else:
            channel = grpc.insecure_channel(self.plan["address"], options)
        call = channel.unary_unary(_METHOD)

        def send(body: bytes) -> Exception | None:
            try:
                call(body, timeout=_TIMEOUT_S)
            except grpc.RpcError as error:
                return RuntimeError(f"{error.code().name}: {error.details()}"[:_MAX_ERROR_CHARS])
            return None

        return send

    def _over_http(self) -> Any:
        connection = http.client.HTTPConnection(self.plan["address"], timeout=_TIMEOUT_S)
        if self.plan["scheme"] == "https":
            connection = http.client.HTTPSConnection(
                self.plan["address"],
                timeout=_TIMEOUT_S,
                context=Tls(**self.plan["tls"]).context(),
            )
        headers = {"Content-Type": "application/json"}

        def send(body: bytes) -> Exception | None:
            try:
                connection.request("POST", f"{self.plan['path']}:predict", body, headers)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                return RuntimeError(f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARS])
            if response.status == http.client.OK:
                return None
            text = f"HTTP {response.status}: {answer.decode(errors='replace')}"
            return RuntimeError(text[:_MAX_ERROR_CHARS])

        return send


def run(directory: Path) -> None:
    """Runs the plan, and writes the measurements and the report."""
    grpc.experimental.gevent.init_gevent()
    plan = json.loads((directory / "plan.json").read_text(encoding="utf-8"))
    plan["tls"] = {name: path and Path(path) for name, path in plan["tls"].items()}
    paths = sorted(directory.glob("*.request"), key=lambda path: int(path.stem))
    bodies = itertools.cycle([path.read_bytes() for path in paths])
    user = type("User", (ReplayingUser,), {"plan": plan, "bodies": bodies})
    # Locust rounds to whole milliseconds, which is too coarse for answers within three.
    locust.stats.bucket_response_time = lambda milliseconds: round(milliseconds, 2)
    times: list[float] = []
    errors: Counter[str] = Counter()

    def record(response_time: float | None, exception: Exception | None, **_: Any) -> None:
        if response_time is not None:
            times.append(response_time)
        else:
            errors[str(exception)] += 1

    environment = Environment(user_classes=[user], host=plan["target"])
    environment.events.request.add_listener(record)
    runner = environment.create_local_runner()
    gevent.spawn(locust.stats.stats_history, runner)
    runner.start(plan["users"], spawn_rate=plan["users"])
    started = time.monotonic()
    gevent.sleep(plan["duration_s"])
    measured = {
        "milliseconds": list(times),
        "errors": dict(errors),
        "seconds": time.monotonic() - started,
    }
    report = get_html_report(environment, show_download_link=False)
    runner.quit()
    (directory / "measured.json").write_text(json.dumps(measured), encoding="utf-8")
    (directory / "report.html").write_text(report, encoding="utf-8")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
