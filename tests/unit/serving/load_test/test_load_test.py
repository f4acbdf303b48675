import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving.bundle.warm_up import read_warmup_requests, write_warmup_requests
from serving.client.endpoint import parse_target
from serving.load_test import measurement
from serving.load_test.measurement import as_bytes, from_queries, run_load_test
from tests.unit.pipelines.cli.command import twotower
from tests.unit.serving.fake_endpoint import ENDPOINTS, FakeModel
from tfrs_twotower.artifacts import seal
from tfrs_twotower.errors import BundleError, EndpointError, UnsupportedEnvironment


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    version = tmp_path_factory.mktemp("bundle") / "7"
    version.mkdir()
    (version / "saved_model.pb").touch()
    (version / "assets.extra").mkdir()
    inputs = {"user_id": tf.TensorSpec([None], tf.string)}
    write_warmup_requests(version, "shop", {"serving_default": inputs}, [1, 4])
    nothing = {"spec_fingerprint": "", "config_fingerprint": "", "parents": {}, "counts": {}}
    seal(version, kind="bundle", **nothing)
    return version.parent


def test_warmup_requests_of_one_size(bundle):
    (inputs,) = read_warmup_requests(bundle, "serving_default", 4)
    assert inputs["user_id"].tolist() == [b""] * 4
    with pytest.raises(BundleError, match="no request of 3 for serving_default; it has 1, 4"):
        read_warmup_requests(bundle, "serving_default", 3)


def test_queries_of_a_file_go_round(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text("".join(f'{{"user_id": "{name}"}}\n' for name in "abc"))
    with ENDPOINTS["grpc"](FakeModel()) as target:
        batches = from_queries(target, path, "serving_default", 2)
    assert [batch["user_id"].tolist() for batch in batches] == [[b"a", b"b"], [b"c", b"a"]]
    assert batches[0]["exclude_ids"].tolist() == [[b""], [b""]]


def test_both_forms_of_a_request():
    inputs = {"user_id": np.array([b"a"], object)}
    (body,) = as_bytes(parse_target("http://h:1/shop"), "serving_default", [inputs])
    assert json.loads(body) == {"signature_name": "serving_default", "inputs": {"user_id": ["a"]}}
    (message,) = as_bytes(parse_target("grpc://h:1/shop/versions/7"), "serving_default", [inputs])
    request = predict_pb2.PredictRequest.FromString(message)
    assert (request.model_spec.name, request.model_spec.version.value) == ("shop", 7)
    assert request.inputs["user_id"].string_val == [b"a"]


@pytest.mark.parametrize("kind", ENDPOINTS)
def test_users_ask_and_errors_are_counted(monkeypatch, capsys, tmp_path, bundle, kind):
    pytest.importorskip("gevent")
    model, page = FakeModel(), tmp_path / "load.html"
    with ENDPOINTS[kind](model) as target:
        model.failures = ["RESOURCE_EXHAUSTED"] * 5
        result = twotower(
            *(monkeypatch, capsys, "load-test", target, "--bundle", bundle, "--users", 2),
            *("--duration", 1, "--batch-size", 4, "--report", page, "--json"),
        )
    assert result.code == 0, result.err
    measured = json.loads(result.out)
    assert measured["num_answers"] > 20
    assert 3 <= measured["num_errors"] <= 5, "the first request of a user is not counted"
    assert "told to be RESOURCE_EXHAUSTED" in next(iter(measured["errors"]))
    percentiles = [measured[name] for name in ("p50_ms", "p95_ms", "p99_ms", "worst_ms")]
    assert percentiles[0] > 0
    assert percentiles == sorted(percentiles)
    queries_per_s = 4 * measured["num_answers"] / measured["seconds"]
    assert measured["queries_per_s"] == pytest.approx(queries_per_s)
    shown = report_of(page)
    assert shown["host"] == target
    (row, total) = shown["requests_statistics"]
    assert row["num_requests"] == total["num_requests"]
    assert row["num_requests"] == measured["num_answers"] + measured["num_errors"]
    assert row["num_failures"] == measured["num_errors"]
    assert "told to be RESOURCE_EXHAUSTED" in shown["failures_statistics"][0]["error"]
    times = shown["response_time_statistics"][0]
    assert times["1.0"] == pytest.approx(measured["worst_ms"], abs=0.006), "not whole milliseconds"
    # Locust takes one of the measured times, NumPy a point between two.
    assert times["0.5"] == pytest.approx(measured["p50_ms"], rel=0.3)


class Tags(HTMLParser):
    """Tags of a page with their attributes; what scripts write is none of them."""

    def __init__(self, text):
        super().__init__()
        self.seen = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def report_of(page):
    """The figures in locust's report, which must bring its scripts along."""
    text = page.read_text()
    tags = Tags(text).seen
    assert ("div", {"id": "root"}) in tags
    assert not [tag for tag in tags if "src" in tag[1] or "http-equiv" in tag[1]]
    assert {attributes["rel"] for name, attributes in tags if name == "link"} <= {"shortcut icon"}
    (figures,) = re.findall(r"window\.templateArgs = (\{.*\})", text)
    return json.loads(figures)


def run_with(monkeypatch, process):
    monkeypatch.setattr(measurement.subprocess, "run", process)
    requests = [{"user_id": np.array([b""], object)}]
    return run_load_test("http://h:1/shop", "serving_default", requests, users=1, duration_s=1.0)


def test_nobody_answers(monkeypatch):
    measured = {"milliseconds": [], "errors": {"a": 1, "HTTP 503": 9}, "seconds": 1.0}

    def process(command, **_):
        (Path(command[-1]) / "measured.json").write_text(json.dumps(measured))

    with pytest.raises(EndpointError, match="no request was answered in 1 s; HTTP 503"):
        run_with(monkeypatch, process)


def test_locust_fails(monkeypatch):
    def process(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr=b"no module named gevent")

    with pytest.raises(UnsupportedEnvironment, match=r"(?s)exit status 1.*no module named gevent"):
        run_with(monkeypatch, process)
