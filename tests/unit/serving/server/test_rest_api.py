"""Uvicorn as the REST API's server."""

import signal

import pytest
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_status_pb2

from serving.server import rest_api
from serving.server.rest_api import RestServer


def test_signals_are_left_to_whoever_started_the_server():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with RestServer(lambda *_: None).capture_signals():
        inside = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert inside == handlers


def message_to_dict_of_protobuf_4(
    message, including_default_value_fields=False, preserving_proto_field_name=False
):
    return json_format_5(
        message,
        preserving_proto_field_name=preserving_proto_field_name,
        always_print_fields_with_no_presence=including_default_value_fields,
    )


json_format_5 = json_format.MessageToDict


@pytest.mark.parametrize("function", [json_format_5, message_to_dict_of_protobuf_4])
def test_empty_fields_are_printed_by_every_allowed_protobuf(monkeypatch, function):
    monkeypatch.setattr(json_format, "MessageToDict", function)
    response = get_model_status_pb2.GetModelStatusResponse()
    response.model_version_status.add()
    assert rest_api._plain(response) == {
        "model_version_status": [{"version": "0", "state": "UNKNOWN"}]
    }
