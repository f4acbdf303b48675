"""A model server of a few lines, which answers over gRPC and REST and fails when it is told to."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

STATUSES = {"INVALID_ARGUMENT": 400, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503}
LISTS = {
    "user_id": (tf.string, []),
    "history": (tf.string, [3]),
    "age": (tf.float32, []),
    "event_time": (tf.int64, []),
    "exclude_ids": (tf.string, [None]),
    "allow": (tf.string, [None]),
    "deny": (tf.string, [None]),
}
PRE_RANKING = {"user_id": (tf.string, []), "candidate_ids": (tf.string, [None])}


class FakeModel:
    """Answers every query with the same candidates, and records the requests."""

    def __init__(self, corpus=(("b", 2.0), ("ä", 1.0)), version="7-abc", k=3):
        self.corpus, self.version, self.k = corpus, version, k
        self.signatures = {"serving_default": dict(LISTS), "pre_ranking": dict(PRE_RANKING)}
        self.failures = []
        """Codes of the next answers."""
        self.requests = []
        self.num_metadata_requests = 0

    def definitions(self):
        self.num_metadata_requests += 1
        definitions = get_model_metadata_pb2.SignatureDefMap()
        for signature, inputs in self.signatures.items():
            for name, (dtype, shape) in inputs.items():
                info = definitions.signature_def[signature].inputs[name]
                info.dtype = dtype.as_datatype_enum
                info.tensor_shape.CopyFrom(tf.TensorShape([None, *shape]).as_proto())
        return definitions

    def predict(self, signature, inputs):
        self.requests.append(inputs)
        batch = len(inputs["user_id"])
        versions = self.version if isinstance(self.version, list) else [self.version] * batch
        if signature == "pre_ranking":
            width = np.shape(inputs["candidate_ids"])[1] + 2  # as if padded in a server's batch
            scores = np.tile(np.arange(width, dtype=np.float32), (batch, 1))
            return {"scores": scores, "model_version": np.array(versions, object)}
        listed = [*self.corpus, *[("", -3.4028235e38)] * self.k][: self.k]
        return {
            "candidate_ids": np.array([[name for name, _ in listed]] * batch, object),
            "scores": np.array([[score for _, score in listed]] * batch, np.float32),
            "model_version": np.array(versions, object),
        }


class _Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model):
        self.model = model

    def Predict(self, request, context):
        if self.model.failures:
            code = self.model.failures.pop(0)
            context.abort(getattr(grpc.StatusCode, code), f"told to be {code}")
        inputs = {name: tf.make_ndarray(value).tolist() for name, value in request.inputs.items()}
        response = predict_pb2.PredictResponse()
        outputs = self.model.predict(request.model_spec.signature_name, inputs)
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelMetadata(self, request, context):
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(self.model.definitions())
        return response


@contextmanager
def grpc_endpoint(model, credentials=None):
    """Serves the model, encrypted if there are credentials, and yields its target."""
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Servicer(model), server)
    if credentials is None:
        port = server.add_insecure_port("localhost:0")
    else:
        port = server.add_secure_port("localhost:0", credentials)
    server.start()
    try:
        yield f"grpc{'s' if credentials else ''}://localhost:{port}/shop"
    finally:
        server.stop(None).wait()


@contextmanager
def rest_endpoint(model, context=None):
    """Serves the model, encrypted if there is an SSL context, and yields its target."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, body):
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            assert self.path == "/v1/models/shop/metadata"
            signatures = {
                name: json_format.MessageToDict(
                    definition,
                    preserving_proto_field_name=True,
                    always_print_fields_with_no_presence=True,
                )
                for name, definition in model.definitions().signature_def.items()
            }
            self.answer(200, {"metadata": {"signature_def": {"signature_def": signatures}}})

        def do_POST(self):
            assert self.path == "/v1/models/shop:predict"
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if model.failures:
                code = model.failures.pop(0)
                self.answer(STATUSES[code], {"error": f"told to be {code}"})
                return
            outputs = model.predict(request["signature_name"], request["inputs"])
            self.answer(200, {"outputs": {name: value.tolist() for name, value in outputs.items()}})

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    if context is not None:
        # The handshake is the handler's: one that fails must not hold up the next connection.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a client that did not wait
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http{'s' if context else ''}://localhost:{server.server_port}/shop"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


ENDPOINTS = {"grpc": grpc_endpoint, "rest": rest_endpoint}
