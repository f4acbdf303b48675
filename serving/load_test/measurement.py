"""A load test: requests that are built beforehand, users that replay them, and the figures."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from serving.client import endpoint, request_inputs, rest_transport
from serving.client.client import Client
from serving.client.tls import Tls
from tfrs_twotower.environment import own_python, run_module
from tfrs_twotower.errors import EndpointError, UnsupportedEnvironment

_NUM_REQUESTS = 256
_TIMEOUT_S = 10.0
_STARTUP_S = 60.0


def from_queries(
    target: str, path: Path, signature: str, batch_size: int, tls: Tls | None = None
) -> list[request_inputs.Arrays]:
    """Inputs built from the queries of a file, `batch_size` each; the last batch is filled up.

    It is filled up with the first queries.

    Raises:
        EndpointError: the server cannot say what the signature takes.
        DataError, ArtifactError: there are no queries.
    """
    queries = request_inputs.read_queries(path, _NUM_REQUESTS * batch_size)
    with Client(target, timeout_s=_TIMEOUT_S, tls=tls) as client:
        specs = client.inputs(signature)
    batches = []
    for start in range(0, len(queries), batch_size):
        chosen = [queries[at % len(queries)] for at in range(start, start + batch_size)]
        batches.append(request_inputs.build_inputs(specs, request_inputs.as_columns(chosen, specs)))
    return batches


def as_bytes(
    target: endpoint.Target, signature: str, requests: Sequence[request_inputs.Arrays]
) -> list[bytes]:
    """Serializes requests for the target's API: `PredictRequest`s, or bodies of REST requests."""
    if target.is_grpc:
        from serving.client import transports  # imports TensorFlow, which REST does without

        return [
            transports.predict_request(target, signature, inputs).SerializeToString()
            for inputs in requests
        ]
    return [rest_transport.predict_body(signature, inputs) for inputs in requests]


@dataclass(frozen=True)
class LoadTest:
    """The figures of a load test."""

    target: str
    signature: str
    users: int
    batch_size: int
    seconds: float
    num_answers: int
    num_errors: int
    errors: dict[str, int]
    """Number of occurrences of each error."""
    requests_per_s: float
    """Rate of answered requests."""
    queries_per_s: float
    p50_ms: float
    """Percentiles are over answers; errors are left out."""
    p95_ms: float
    p99_ms: float
    worst_ms: float

    def lines(self) -> list[str]:
        """The figures as text, one per line."""
        figures = {
            "answers": f"{self.num_answers:,}",
            "errors": f"{self.num_errors:,}",
            "requests a second": f"{self.requests_per_s:,.1f}",
            "queries a second": f"{self.queries_per_s:,.1f}",
            "p50": f"{self.p50_ms:.2f} ms",
            "p95": f"{self.p95_ms:.2f} ms",
            "p99": f"{self.p99_ms:.2f} ms",
            "slowest": f"{self.worst_ms:.2f} ms",
        }
        shown = [f"{name:<18} {value}" for name, value in figures.items()]
        return shown + [
            f"error, {count:,} times: {error}" for error, count in sorted(self.errors.items())
        ]


def run_load_test(
    target: str,
    signature: str,
    requests: Sequence[request_inputs.Arrays],
    *,
    users: int,
    duration_s: float,
    report: Path | None = None,
    tls: Tls | None = None,
) -> LoadTest:
    """Lets users replay requests; each user sends the next one when it has its answer.

    Args:
        target: the endpoint; see `serving.client.endpoint.parse_target`.
        signature: the signature to call.
        requests: inputs `[batch, ...]`, all of one batch size; they are replayed in turn.
        users: number of users that send at the same time.
        duration_s: length of the test in seconds.
        report: path that locust's own HTML report is written to.
        tls: certificates of an encrypted connection.

    Raises:
        EndpointError: no request was answered.
        UnsupportedEnvironment: locust is not installed, or failed.
    """
    parsed = endpoint.parse_target(target, tls)
    parsed.tls.context()  # a bad file is said here, and not for each user
    plan = {
        "target": target,
        "scheme": parsed.scheme,
        "tls": {name: path and str(path) for name, path in asdict(parsed.tls).items()},
        "address": parsed.address,
        "path": parsed.path,
        "users": users,
        "duration_s": duration_s,
    }
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        (directory / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        for number, body in enumerate(as_bytes(parsed, signature, requests)):
            (directory / f"{number}.request").write_bytes(body)
        command = own_python(run_module("serving.load_test.locust_process"), scratch)
        try:
            subprocess.run(  # noqa: S603
                command, check=True, capture_output=True, timeout=duration_s + _STARTUP_S
            )
        except subprocess.SubprocessError as cause:
            output = getattr(cause, "stderr", b"") or b""
            raise UnsupportedEnvironment(
                f"locust failed: {cause}. It said: {output.decode(errors='replace')[-2000:]}"
            ) from cause
        measured = json.loads((directory / "measured.json").read_text(encoding="utf-8"))
        if report is not None:
            report.write_bytes((directory / "report.html").read_bytes())
    times, errors, seconds = measured["milliseconds"], measured["errors"], measured["seconds"]
    if not times:
        commonest = max(errors, key=lambda error: errors[error], default="no answer in time")
        raise EndpointError(
            f"{target}: no request was answered in {duration_s:.0f} s; {commonest}.", "UNAVAILABLE"
        )
    batch_size = len(next(iter(requests[0].values())))
    p50, p95, p99 = np.percentile(times, [50, 95, 99]).tolist()
    return LoadTest(
        target=target,
        signature=signature,
        users=users,
        batch_size=batch_size,
        seconds=seconds,
        num_answers=len(times),
        num_errors=sum(errors.values()),
        errors=errors,
        requests_per_s=len(times) / seconds,
        queries_per_s=len(times) * batch_size / seconds,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        worst_ms=max(times),
    )
