"""Versions come and go while clients ask: no request fails, no answer mixes versions."""

import http.client
import json
import threading
import time

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.server.local_server import ServerOptions, running
from serving.server.models import from_directory
from tests.fixtures.served_model import score, write_corrupt_version, write_version

pytestmark = [pytest.mark.local_server, pytest.mark.integration]
NUM_CLIENTS = 8


class Client(threading.Thread):
    """Asks without a pause until it is told to stop; remembers what it was answered."""

    def __init__(self, number, server, stopping):
        super().__init__()
        self.size = float(number)
        self.server, self.stopping = server, stopping
        self.versions, self.failures = [], []

    def run(self):
        ask = self.over_grpc if self.size % 2 else self.over_rest
        try:
            ask()
        except Exception as error:
            self.failures.append(repr(error))

    def inputs(self):
        return {
            "name": ["n"], "recent": [[""] * 3], "size": [self.size], "when": [1],
            "exclude_ids": [[""]],
        }  # fmt: skip

    def over_grpc(self):
        types = {"size": tf.float32, "when": tf.int64}
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "Shop"
        for name, value in self.inputs().items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value, types.get(name, tf.string)))
        with grpc.insecure_channel(f"127.0.0.1:{self.server.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not self.stopping.is_set():
                found = stub.Predict(request, timeout=30)
                self.check(
                    found.outputs["model_version"].string_val[0].decode(),
                    [each.decode() for each in found.outputs["candidate_ids"].string_val],
                    found.outputs["scores"].float_val[0],
                    found.model_spec.version.value,
                )

    def over_rest(self):
        body = json.dumps({"inputs": self.inputs()})
        web = http.client.HTTPConnection("127.0.0.1", self.server.rest_port, timeout=30)
        while not self.stopping.is_set():
            web.request("POST", "/v1/models/Shop:predict", body)
            response = web.getresponse()
            answer = json.loads(response.read())
            assert response.status == 200, answer
            found = answer["outputs"]
            self.check(found["model_version"][0], found["candidate_ids"][0], found["scores"][0][0])
        web.close()

    def check(self, model_version, candidate_ids, first_score, spec_version=None):
        version = int(model_version.split("-")[0])
        if candidate_ids != ["c0", "c1", f"new{version}"]:
            self.failures.append(f"version {version} with the candidates {candidate_ids}")
        if spec_version not in (None, version):
            self.failures.append(f"model_spec says {spec_version}, the answer {version}")
        if first_score != score(version, self.size):
            self.failures.append(f"version {version} with the score {first_score}")
        self.versions.append(version)


def swap(tmp_path, num_versions, corrupt):
    """Publishes versions one by one under load; returns the clients."""
    bundle, waiting = tmp_path / "Shop", tmp_path / "waiting" / "Shop"
    write_version(bundle, 1)
    for version in range(2, num_versions + 1):
        if version == corrupt:
            write_corrupt_version(waiting, version)
        else:
            write_version(waiting, version)
    stopping = threading.Event()
    with running(ServerOptions(from_directory(bundle), 0, 0, poll_s=0.05)) as server:
        clients = [Client(number, server, stopping) for number in range(NUM_CLIENTS)]
        for client in clients:
            client.start()
        try:
            for version in range(2, num_versions + 1):
                (waiting / str(version)).rename(bundle / str(version))
                states = wait_until_settled(server, version)
                if version == corrupt:
                    assert "does not match its checksum" in states[version].message
                    assert states[version - 1].state == "AVAILABLE"
                else:
                    assert states[version].state == "AVAILABLE"
                time.sleep(0.1)
        finally:
            stopping.set()
            for client in clients:
                client.join()
        assert [served.version for served in server.manager.versions] == [num_versions]
    print(sum(len(client.versions) for client in clients), "answers while versions changed")  # noqa: T201
    return clients


def wait_until_settled(server, version):
    """The states of all versions, as soon as this one serves alone or was refused."""
    for _ in range(2000):
        states = dict(server.manager.states("Shop")) if server.manager.ready else {}
        others = [state.state for number, state in states.items() if number != version]
        mine = states.get(version)
        if mine and (mine.state == "END" or (mine.state == "AVAILABLE" and set(others) <= {"END"})):
            return states
        time.sleep(0.02)
    raise AssertionError(f"version {version} is not settled: {states}")


def check(clients, num_versions, corrupt):
    assert [failure for client in clients for failure in client.failures] == []
    for client in clients:
        assert client.versions == sorted(client.versions), "a client went back to an old version"
        assert corrupt not in client.versions
    seen = set().union(*(client.versions for client in clients))
    assert seen == set(range(1, num_versions + 1)) - {corrupt}


def test_a_few_versions_under_load(tmp_path):
    check(swap(tmp_path, 4, corrupt=3), 4, corrupt=3)


@pytest.mark.slow  # twenty versions are written and loaded under load: a minute
def test_twenty_versions_under_load(tmp_path):
    check(swap(tmp_path, 21, corrupt=11), 21, corrupt=11)
