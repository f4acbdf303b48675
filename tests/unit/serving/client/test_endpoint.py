import time

import pytest

from serving.client import endpoint as module
from serving.client.endpoint import Target, parse_target, retrying
from tfrs_twotower.errors import EndpointError


@pytest.mark.parametrize(
    ("text", "expected", "path"),
    [
        ("grpc://localhost:8500/ml", Target("grpc", "localhost:8500", "ml"), "/v1/models/ml"),
        (
            "http://host:1/v1/models/ml/versions/12",
            Target("http", "host:1", "ml", version=12),
            "/v1/models/ml/versions/12",
        ),
        (
            "https://host/ml/labels/canary",
            Target("https", "host", "ml", label="canary"),
            "/v1/models/ml/labels/canary",
        ),
    ],
)
def test_targets(text, expected, path):
    assert parse_target(text) == expected
    assert parse_target(text).path == path


@pytest.mark.parametrize("text", ["localhost:8500", "ftp://h/m", "grpc://h", "http://h/m:predict"])
def test_what_is_no_target(text):
    with pytest.raises(EndpointError, match=r"expected grpc://HOST:PORT/MODEL or") as caught:
        parse_target(text)
    assert caught.value.code == "INVALID_ARGUMENT"


class Server:
    def __init__(self, *codes):
        self.codes, self.left = list(codes), []

    def __call__(self, left_s):
        self.left.append(left_s)
        if self.codes:
            code = self.codes.pop(0)
            raise EndpointError(f"said {code}", code)
        return "answer"


def test_two_pauses_of_random_length(monkeypatch):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    for _ in range(20):
        assert retrying(Server("UNAVAILABLE", "UNAVAILABLE"), time.monotonic() + 9.0) == "answer"
    first, second = pauses[::2], pauses[1::2]
    assert 0.025 <= min(first) < max(first) <= 0.075
    assert 0.1 <= min(second) < max(second) <= 0.3


@pytest.mark.parametrize(
    "code", ["DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "CANCELLED", "NOT_FOUND"]
)
def test_other_codes_are_final(code):
    server = Server(code)
    with pytest.raises(EndpointError, match=f"said {code}"):
        retrying(server, time.monotonic() + 9.0)
    assert len(server.left) == 1


def test_the_code_that_is_asked_again_may_be_chosen():
    assert retrying(Server("ABORTED"), time.monotonic() + 9.0, "ABORTED") == "answer"
    with pytest.raises(EndpointError, match="said UNAVAILABLE"):
        retrying(Server("UNAVAILABLE"), time.monotonic() + 9.0, "ABORTED")


def test_each_attempt_has_what_is_left():
    server = Server("UNAVAILABLE")
    retrying(server, time.monotonic() + 9.0)
    assert 9.0 >= server.left[0] > server.left[1] + 0.02


def test_a_pause_that_would_outlast_the_deadline_is_not_made(monkeypatch):
    monkeypatch.setattr(module, "_PAUSES_S", (20.0, 20.0))
    monkeypatch.setattr(module.time, "sleep", pytest.fail)
    server = Server("UNAVAILABLE")
    with pytest.raises(EndpointError, match="said UNAVAILABLE"):
        retrying(server, time.monotonic() + 9.0)
    assert len(server.left) == 1


def test_nothing_is_asked_after_the_deadline():
    server = Server()
    with pytest.raises(EndpointError, match="before a request could be sent") as caught:
        retrying(server, time.monotonic() - 0.001)
    assert (caught.value.code, server.left) == ("DEADLINE_EXCEEDED", [])
