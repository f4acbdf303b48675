"""The local server's end: it answers what is under way, and says that it is not ready."""

import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.server.local_server import ServerOptions, running
from serving.server.models import from_directory
from tests.fixtures.served_model import REQUEST, answer_ids, request_of, write_version
from tests.fixtures.wire import Wire

pytestmark = [pytest.mark.local_server, pytest.mark.integration]


def test_what_is_under_way_is_answered_when_the_server_ends(tmp_path):
    # A batch waits a second for others: both requests are waiting when the end comes.
    write_version(tmp_path / "Shop", 1, wait_micros=1_000_000)

    def over_rest(port):
        body = json.dumps({"inputs": REQUEST}).encode()
        where = f"http://127.0.0.1:{port}/v1/models/Shop:predict"
        with urllib.request.urlopen(where, body, timeout=20) as response:
            return json.load(response)["outputs"]["candidate_ids"]

    def over_grpc(port):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            found = stub.Predict(request_of(), timeout=20).outputs["candidate_ids"]
        return tf.make_ndarray(found).astype(str).tolist()

    def while_it_ends(server):
        """Status of the probes and of a new request, from the moment on that the end begins."""
        wire = Wire(server.grpc_port, server.rest_port, tmp_path)
        assert wire.rest(path="/readyz")[0] == 200
        ending.set()
        while not server.manager.stopping:
            time.sleep(0.001)
        probes = [wire.rest(path=path)[0] for path in ("/readyz", "/livez")]
        refused = wire.rest({"inputs": REQUEST})
        wire.close()
        return [*probes, refused[0], json.loads(refused[2])]

    ending = threading.Event()
    with ThreadPoolExecutor(3) as clients:
        with running(ServerOptions(from_directory(tmp_path), 0, 0)) as server:
            asked = [
                clients.submit(over_rest, server.rest_port),
                clients.submit(over_grpc, server.grpc_port),
            ]
            (served,) = server.manager.versions
            while served.num_users < 2:
                time.sleep(0.01)
            meanwhile = clients.submit(while_it_ends, server)
            ending.wait(20)
        assert meanwhile.result() == [503, 200, 503, {"error": "the server is stopping"}]
        assert [each.result() for each in asked] == [answer_ids(1)] * 2
