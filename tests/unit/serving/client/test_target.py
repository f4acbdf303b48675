import pytest

from serving.client.endpoint import Target, parse_target
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
