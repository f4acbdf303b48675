import json
import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from serving.client.client import Client, Recommendations
from serving.client.rest_transport import _as_json
from tests.unit.serving.fake_endpoint import ENDPOINTS, FakeModel
from tfrs_twotower.errors import EndpointError
from tfrs_twotower.specs import MISSING_TIME


@pytest.fixture
def model():
    return FakeModel()


@pytest.fixture(params=ENDPOINTS)
def client(request, model):
    with ENDPOINTS[request.param](model) as target, Client(target, timeout_s=5.0) as client:
        yield client


def plain(values):
    """Text where gRPC gives bytes."""
    if isinstance(values, list):
        return [plain(value) for value in values]
    return values.decode() if isinstance(values, bytes) else values


def test_a_list_without_what_is_missing(client):
    recommendations = client.recommend({"user_id": ["u1", "u2"]})
    assert recommendations == [Recommendations(["b", "ä"], [2.0, 1.0], "7-abc")] * 2


def test_every_input_is_sent_and_lists_get_their_column_of_nothing(client, model):
    client.recommend(
        {"user_id": ["ü", None], "history": [["a"], ["a", "b", "c", "d"]], "age": [30, 31.5]},
        exclude_ids=[["b", "c"], []],
        allow=[[], ["color=red"]],
    )
    (request,) = model.requests
    assert {name: plain(values) for name, values in request.items()} == {
        "user_id": ["ü", ""],
        "history": [["a", "", ""], ["a", "b", "c"]],
        "age": [30.0, 31.5],
        "event_time": [MISSING_TIME, MISSING_TIME],
        "exclude_ids": [["", "b", "c"], ["", "", ""]],
        "allow": [["", ""], ["", "color=red"]],
        "deny": [[""], [""]],
    }


def test_a_missing_number_is_nan(client, model):
    client.recommend({"user_id": ["u"]})
    assert math.isnan(model.requests[0]["age"][0])


def test_arrays_of_bytes_are_taken_too(client, model):
    client.recommend(
        {"user_id": np.array([b"u1"], object), "history": np.full((1, 3), b"", object)}
    )
    assert plain(model.requests[0]["user_id"]) == ["u1"]


def test_bytes_that_are_no_text_go_as_base64():
    assert json.dumps(_as_json([b"a", b"\xff"])) == '["a", {"b64": "/w=="}]'


def test_pre_ranking_keeps_order_and_leaves_out_the_servers_padding(client):
    recommendations = client.pre_rank({"user_id": ["u1", "u2"]}, [["x", "y", "z"], ["w"]])
    assert recommendations == [
        Recommendations(["x", "y", "z"], [0.0, 1.0, 2.0], "7-abc"),
        Recommendations(["w"], [0.0], "7-abc"),
    ]


def test_metadata_is_read_once_and_again_before_a_name_is_refused(client, model):
    for _ in range(3):
        client.recommend({"user_id": ["u"]})
    assert model.num_metadata_requests == 1
    with pytest.raises(EndpointError, match=r"no input 'user' \(did you mean 'user_id'\?\); it ta"):
        client.recommend({"user": ["u"]})
    assert (model.num_metadata_requests, len(model.requests)) == (2, 3)
    model.signatures["serving_default"]["town"] = model.signatures["serving_default"]["user_id"]
    client.recommend({"user_id": ["u"], "town": ["Oslo"]})
    assert plain(model.requests[-1]["town"]) == ["Oslo"]


def test_restricts_that_the_bundle_does_not_declare(client, model):
    del model.signatures["serving_default"]["allow"]
    with pytest.raises(EndpointError, match=r"takes no 'allow': the bundle declares no restricts"):
        client.recommend({"user_id": ["u"]}, allow=[["color=red"]])


def test_a_bundle_without_pre_ranker(client, model):
    del model.signatures["pre_ranking"]
    with pytest.raises(EndpointError, match="no signature 'pre_ranking'; it has serving_default"):
        client.pre_rank({"user_id": ["u"]}, [["x"]])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, r"same number of queries, at least one; found none"),
        ({"user_id": ["a", "b"], "age": [1.0]}, r"found user_id 2, age 1"),
        ({"user_id": [7]}, r"input 'user_id': found 7, which is not text. Expected text for each"),
        ({"age": ["old"]}, r"input 'age': .*'old'. Expected a number for each query"),
        (
            {"history": ["a"]},
            r"input 'history': found 'a', which is not a list. Expected a list of",
        ),
    ],
)
def test_values_that_fit_no_input(client, features, message):
    with pytest.raises(EndpointError, match=message):
        client.recommend(features)


def test_a_server_that_comes_back_is_asked_again(client, model):
    model.failures = ["UNAVAILABLE", "UNAVAILABLE"]
    assert client.recommend({"user_id": ["u"]})[0].candidate_ids == ["b", "ä"]


def test_three_attempts_are_enough(client, model):
    model.failures = ["UNAVAILABLE"] * 4
    with pytest.raises(EndpointError, match=r"UNAVAILABLE: .*told to be UNAVAILABLE") as caught:
        client.recommend({"user_id": ["u"]})
    assert (caught.value.code, len(model.failures)) == ("UNAVAILABLE", 1)


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"])
def test_what_a_server_refuses_is_not_sent_again(client, model, code):
    model.failures = [code, code]
    with pytest.raises(EndpointError, match=f"model 'shop': {code}: .*told to be {code}") as caught:
        client.recommend({"user_id": ["u"]})
    assert (caught.value.code, len(model.failures)) == (code, 1)


def test_a_new_version_with_other_inputs_is_asked_as_it_wants(client, model):
    client.recommend({"user_id": ["u"]})
    model.signatures["serving_default"]["history"] = (tf.string, [2])
    model.failures = ["INVALID_ARGUMENT"]
    assert client.recommend({"user_id": ["u"], "history": [["a"]]})[0].candidate_ids == ["b", "ä"]
    assert (model.num_metadata_requests, plain(model.requests[-1]["history"])) == (2, [["a", ""]])


def test_threads_that_start_together_read_the_signature_once(client, model):
    with ThreadPoolExecutor(8) as threads:
        recommendations = list(threads.map(client.recommend, [{"user_id": ["u"]}] * 8))
    assert len(recommendations) == len(model.requests) == 8
    assert model.num_metadata_requests == 1


def test_an_answer_of_no_bundle(client, model):
    model.predict = lambda *_: {"embedding": np.zeros((1, 2)), "norm": np.zeros(1)}
    with pytest.raises(EndpointError, match=r"no 'model_version' but embedding, norm; expected a"):
        client.recommend({"user_id": ["u"]})


def test_an_input_that_no_bundle_has(client, model):
    model.signatures["serving_default"]["mask"] = (tf.bool, [])
    with pytest.raises(EndpointError, match=r"input 'mask' is of type DT_BOOL; bundles take DT_ST"):
        client.recommend({"user_id": ["u"]})


def test_a_batch_of_two_versions_is_refused(client, model):
    model.version = ["7-abc", "8-def"]
    with pytest.raises(EndpointError, match=r"answered with the versions 7-abc, 8-def; expected 7"):
        client.recommend({"user_id": ["u1", "u2"]})


@pytest.mark.parametrize("kind", ENDPOINTS)
def test_an_expected_version(model, kind):
    with (
        ENDPOINTS[kind](model) as target,
        Client(target, timeout_s=5.0, expected_version="6-abc") as client,
        pytest.raises(EndpointError, match=r"versions 7-abc; expected 6-abc"),
    ):
        client.recommend({"user_id": ["u"]})


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_nobody_there(scheme):
    started = time.monotonic()
    with (
        Client(f"{scheme}://localhost:9/shop", timeout_s=0.3) as client,
        pytest.raises(EndpointError, match="localhost:9, model 'shop'") as caught,
    ):
        client.recommend({"user_id": ["u"]})
    assert caught.value.code == "UNAVAILABLE"
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("kind", ENDPOINTS)
def test_a_deadline(model, kind, monkeypatch):
    answer = model.predict

    def slowly(*arguments):
        time.sleep(0.5)
        return answer(*arguments)

    with ENDPOINTS[kind](model) as target, Client(target, timeout_s=5.0) as first:
        first.recommend({"user_id": ["u"]})
        monkeypatch.setattr(model, "predict", slowly)
        with Client(target, timeout_s=0.2) as client, pytest.raises(EndpointError) as caught:
            client.recommend({"user_id": ["u"]})
    assert caught.value.code == "DEADLINE_EXCEEDED"
