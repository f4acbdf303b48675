"""The local server over the wire, asked by the official gRPC client and by plain HTTP."""

import json
import math
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.server.local_server import READY_SERVICES, ServerOptions, running
from serving.server.models import config_of, from_directory
from serving.server.refusals import MAX_BODY_BYTES
from tests.fixtures.served_model import (
    REQUEST,
    answer_ids,
    request_of,
    score,
    write_corrupt_version,
    write_version,
)

pytestmark = [pytest.mark.local_server, pytest.mark.integration]
FIRST, SECOND = 3, 7


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    bundle = tmp_path_factory.mktemp("served") / "Shop"
    write_version(bundle, FIRST)
    write_version(bundle, SECOND)
    write_corrupt_version(bundle, 9)
    (bundle / "models.config").write_text(
        'model_config_list { config { name: "Shop" base_path: "/models/Shop" '
        "model_version_policy { all {} } "
        f'version_labels {{ key: "stable" value: {FIRST} }} }} }}'
    )
    return bundle


@pytest.fixture(scope="module")
def server(bundle):
    with running(ServerOptions(from_directory(bundle.parent), 0, 0, poll_s=3600.0)) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def predict(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict


@pytest.fixture(scope="module")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(scope="module")
def http(server):
    def ask(path, body=None, method=None):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.rest_port}{path}", data, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return ask


def refused(call, request, code, text):
    with pytest.raises(grpc.RpcError, match=text) as caught:
        call(request, timeout=20)
    assert caught.value.code() == code


def error_of(answer, status, text):
    assert answer[0] == status
    body = json.loads(answer[1])
    assert list(body) == ["error"]
    assert text in body["error"]


def test_predict_over_grpc(predict):
    response = predict(request_of(), timeout=20)
    outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
    assert outputs["candidate_ids"].astype(str).tolist() == answer_ids(SECOND)
    np.testing.assert_array_equal(outputs["scores"][:, 0], [score(SECOND, 1.0), score(SECOND, 2.5)])
    assert set(outputs["model_version"]) == {b"7-served"}
    assert response.model_spec.version.value == SECOND
    assert response.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize("spec", [{"version": FIRST}, {"label": "stable"}])
def test_an_earlier_version_is_asked_for(predict, http, spec):
    response = predict(request_of(**spec), timeout=20)
    assert response.model_spec.version.value == FIRST
    assert response.outputs["scores"].float_val[0] == score(FIRST, 1.0)
    assert response.outputs["candidate_ids"].string_val[2] == b"new3"
    where = f"versions/{FIRST}" if "version" in spec else "labels/stable"
    status, body = http(f"/v1/models/Shop/{where}:predict", {"inputs": REQUEST})
    assert status == 200
    assert json.loads(body)["outputs"]["model_version"] == ["3-served", "3-served"]


def test_the_output_filter(predict):
    request = request_of()
    request.output_filter.append("scores")
    assert list(predict(request, timeout=20).outputs) == ["scores"]
    request.output_filter.append("scores")
    refused(predict, request, grpc.StatusCode.INVALID_ARGUMENT, "duplicate output")
    request.output_filter[1] = "norm"
    refused(predict, request, grpc.StatusCode.INVALID_ARGUMENT, "expected to be in the set")


def test_rows_and_columns_over_rest_agree_with_grpc(predict, http):
    status, body = http("/V1/MODELS/Shop:PREDICT", {"inputs": REQUEST})
    assert status == 200
    columns = json.loads(body)["outputs"]
    assert columns["candidate_ids"] == answer_ids(SECOND)
    rows = [{name: values[number] for name, values in REQUEST.items()} for number in range(2)]
    status, body = http("/v1/models/Shop:predict", {"instances": rows})
    assert status == 200
    assert json.loads(body)["predictions"] == [
        {name: columns[name][number] for name in columns} for number in range(2)
    ]
    response = predict(request_of(), timeout=20)
    for name, proto in response.outputs.items():
        values = tf.make_ndarray(proto)
        assert (values.astype(str) if values.dtype == object else values).tolist() == columns[name]


def test_one_input_and_one_output_go_without_names(http):
    ask = {"signature_name": "lengths", "instances": ["a", "bcd", {"b64": "AAH/"}]}
    assert json.loads(http("/v1/models/Shop:predict", ask)[1]) == {"predictions": [1, 3, 3]}
    ask = {"signature_name": "lengths", "inputs": ["ab"]}
    assert json.loads(http("/v1/models/Shop:predict", ask)[1]) == {"outputs": [2]}
    ask = {"signature_name": "picky", "instances": [{"text": {"b64": "aMOp"}}]}
    assert json.loads(http("/v1/models/Shop:predict", ask)[1]) == {
        "predictions": [{"text": "hé", "text_bytes": {"b64": "aMOp"}}]
    }


def test_status_over_both(models, http):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "Shop"
    found = models.GetModelStatus(request, timeout=20).model_version_status
    assert [(each.version, each.State.Name(each.state)) for each in found] == [
        (9, "END"),
        (SECOND, "AVAILABLE"),
        (FIRST, "AVAILABLE"),
    ]
    assert "does not match its checksum" in found[0].status.error_message
    fine = {"error_code": "OK", "error_message": ""}
    assert json.loads(http("/v1/models/Shop/versions/3")[1]) == {
        "model_version_status": [{"version": "3", "state": "AVAILABLE", "status": fine}]
    }
    refusal = json.loads(http("/v1/models/Shop")[1])["model_version_status"][0]["status"]
    assert refusal["error_code"] == "DATA_LOSS"


def test_metadata_over_both(channel, http):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "Shop"
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.GetModelMetadata(request, timeout=20)
    found = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    recent = found.signature_def["serving_default"].inputs["recent"]
    assert [dim.size for dim in recent.tensor_shape.dim] == [-1, 3]
    body = json.loads(http("/v1/models/Shop/metadata")[1])
    assert body["model_spec"] == {"name": "Shop", "signature_name": "", "version": "7"}
    signatures = body["metadata"]["signature_def"]["signature_def"]
    recent = signatures["serving_default"]["inputs"]["recent"]
    assert [dim["size"] for dim in recent["tensor_shape"]["dim"]] == ["-1", "3"]
    assert signatures["lengths"]["method_name"] == "tensorflow/serving/predict"
    del request.metadata_field[:]
    refused(stub.GetModelMetadata, request, grpc.StatusCode.INVALID_ARGUMENT, "at least one")


def test_what_is_not_there(predict, http, channel):
    missing = request_of()
    missing.model_spec.name = "shop"
    refused(predict, missing, grpc.StatusCode.NOT_FOUND, r"request: Latest\(shop\)")
    refused(predict, request_of(version=8), grpc.StatusCode.NOT_FOUND, r"Specific\(Shop, 8\)")
    refused(predict, request_of(label="beta"), grpc.StatusCode.INVALID_ARGUMENT, "label: beta")
    refused(predict, request_of("rank"), grpc.StatusCode.FAILED_PRECONDITION, '"rank" not found')
    error_of(http("/v1/models/shop:predict", {"inputs": REQUEST}), 404, "Latest(shop)")
    error_of(http("/v1/models/Shop/versions/8"), 404, "Could not find version 8 of model Shop")
    error_of(http("/v1/models/Shop:rank", {}), 400, "Malformed request: POST /v1/models/Shop:rank")
    error_of(http("/v1/models/Shop:classify", {}), 400, ":predict only")
    error_of(http("/elsewhere"), 404, "nothing at /elsewhere")
    error_of(http("/v1/models/Shop", method="DELETE"), 400, "Malformed request: DELETE")
    error_of(http("/v1/models/Shop/"), 400, "Malformed request: GET /v1/models/Shop/")
    for version in ("9" * 5000, "9223372036854775808"):
        where = f"/v1/models/Shop/versions/{version}"
        error_of(http(where), 400, "Failed to convert version: 9")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = classification_pb2.ClassificationRequest()
    refused(stub.Classify, request, grpc.StatusCode.INVALID_ARGUMENT, "answers Predict only")


def test_bodies_that_are_too_large(predict, http):
    error_of(http("/v1/models/Shop:predict", b"x" * (MAX_BODY_BYTES + 1)), 413, "limit")
    large = request_of(inputs={**REQUEST, "name": ["x" * MAX_BODY_BYTES, ""]})
    refused(predict, large, grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max")


def test_an_infinite_number_has_no_answer_and_a_missing_one_is_no_fault(predict, http):
    infinite = {**REQUEST, "size": [math.inf, 0.0]}
    refused(predict, request_of(inputs=infinite), grpc.StatusCode.INVALID_ARGUMENT, "not a finite")
    error_of(http("/v1/models/Shop:predict", {"inputs": infinite}), 400, "not a finite")


def test_an_error_that_nobody_foresaw(server, models, http, monkeypatch):
    def fail(*_):
        raise ValueError("out of paper\nat line 3")

    monkeypatch.setattr(server.manager, "states", fail)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "Shop"
    refused(models.GetModelStatus, request, grpc.StatusCode.INTERNAL, '"ValueError: out of paper"')
    assert http("/v1/models/Shop") == (500, '{"error": "ValueError: out of paper"}')


def test_health_and_probes(channel, http):
    check = health_pb2_grpc.HealthStub(channel).Check
    for service in ("", *READY_SERVICES):
        status = check(health_pb2.HealthCheckRequest(service=service), timeout=20).status
        assert status == health_pb2.HealthCheckResponse.SERVING
    unknown = health_pb2.HealthCheckRequest(service="tensorflow.serving.Nothing")
    with pytest.raises(grpc.RpcError) as caught:
        check(unknown, timeout=20)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(service=READY_SERVICES[0]), timeout=20
    )
    assert next(iter(watch)).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    assert http("/livez")[0] == http("/readyz")[0] == 200


def test_metrics_are_read_by_prometheus_own_parser(predict, http):
    predict(request_of(), timeout=20)
    status, page = http("/monitoring/prometheus/metrics")
    assert status == 200
    assert '\n:tensorflow:serving:request_count{model_name="Shop",status="OK"} ' in page
    samples = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    (ok,) = [
        sample
        for sample in samples[":tensorflow:serving:request_count_total"]  # as the parser says
        if sample.labels == {"model_name": "Shop", "status": "OK"}
    ]
    latency = [
        sample
        for sample in samples[":tensorflow:serving:request_latency_count"]
        if sample.labels == {"model_name": "Shop", "API": "Predict", "entrypoint": "GRPC"}
    ]
    assert latency[0].value >= 1
    assert ok.value >= 1
    (newest,) = [
        sample
        for sample in samples[":twotower:serving:version"]
        if sample.labels["model_version"] == "7-served"
    ]
    assert newest.value == SECOND
    assert all(0 <= sample.value < 600 for sample in samples[":twotower:serving:index_age_seconds"])


def test_reloading_replaces_the_whole_set(models, predict, bundle):
    other = bundle.with_name("Other")
    write_version(other, 1)
    before = config_of(bundle)

    def reload(config):
        request = model_management_pb2.ReloadConfigRequest()
        request.config.CopyFrom(config)
        return models.HandleReloadConfigRequest(request, timeout=60)

    labelled = config_of(other)
    labelled.model_config_list.config[0].version_labels["canary"] = 1
    with pytest.raises(grpc.RpcError, match="not currently available") as caught:
        reload(labelled)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert predict(request_of(), timeout=20).model_spec.version.value == SECOND

    reload(config_of(other))
    refused(predict, request_of(), grpc.StatusCode.NOT_FOUND, r"Latest\(Shop\)")
    reload(labelled)
    request = request_of(label="canary")
    request.model_spec.name = "Other"
    assert predict(request, timeout=20).model_spec.version.value == 1

    del before.model_config_list.config[0].version_labels["stable"]
    reload(before)
    assert predict(request_of(), timeout=20).model_spec.version.value == SECOND
    refused(predict, request, grpc.StatusCode.INVALID_ARGUMENT, "label: canary")
    with pytest.raises(grpc.RpcError, match="no model_config_list"):
        reload(type(before)())
