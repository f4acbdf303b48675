"""One request, one answer: Python, the command line, both APIs, saved_model_cli, and C++.

The last is the function that TensorFlow Serving loads a version with, called in a process without
Python's TensorFlow. Official tensorflow-serving-api stubs talk over gRPC. The bundles have a
pre-ranker of two members, exclusions and restricts.
"""

import json

import grpc
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from tensorflow.python.tools import saved_model_cli
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from serving.bundle.loading import load_bundle
from serving.bundle.query import ask
from serving.bundle.server_files import WARMUP_PATH
from serving.client.client import Client
from serving.server.local_server import ServerOptions, running
from serving.server.models import from_directory
from serving.server.request_tensors import read_signature_defs
from tests.fixtures.small_release import publish_release, small_corpus, small_queries, small_release
from tests.integration.cpp.loader import LoaderFailed, answer_in_cpp, read_requests
from tests.unit.pipelines.cli.command import twotower

pytestmark = [pytest.mark.local_server, pytest.mark.integration]
SIGNATURES = ("serving_default", "candidate_generation")
TOLERANCE = 1e-5
TWIN = pytest.mark.slow(reason="a third bundle, of core operations as ivf is")


@pytest.fixture(scope="module", params=[pytest.param("brute_force", marks=TWIN), "ivf", "scann"])
def bundle(request, tmp_path_factory):
    if request.param == "scann":
        pytest.importorskip("scann")
    root = tmp_path_factory.mktemp(request.param)
    release = small_release(root, small_corpus(), kind=request.param)
    publish_release(root / "small", release)
    return load_bundle(root / "small")


@pytest.fixture(scope="module")
def given():
    """A batch of queries with exclusions and restricts of different widths."""
    random = np.random.default_rng(8)
    size = 12
    names = [f"c{number:02d}" for number in range(24)]
    tokens = ["topics=jazz", "topics=punk", "topics=soul"]
    history = small_queries(size)["history"]
    history[history == b""] = b"unknown"
    history[0, 2:] = history[1] = b""
    return {
        "history": history,
        "exclude_ids": [list(random.choice(names, row % 4)) for row in range(size)],
        "allow": [[tokens[row % 3]] if row % 4 == 0 else [] for row in range(size)],
        "deny": [["topics=folk", "price=1"] if row % 5 == 0 else [] for row in range(size)],
    }


@pytest.fixture(scope="module")
def inputs(given):
    """The same as tensors, written without the client."""
    padded = {}
    for name in ("exclude_ids", "allow", "deny"):
        width = 1 + max(map(len, given[name]))
        lines = [(["", *line] + [""] * width)[:width] for line in given[name]]
        padded[name] = np.array([[value.encode() for value in line] for line in lines], object)
    return {"history": given["history"], **padded}


def same(found_ids, found_scores, expected):
    assert np.asarray(found_ids).tolist() == expected["candidate_ids"].tolist()
    np.testing.assert_allclose(found_scores, expected["scores"], atol=TOLERANCE)


@pytest.fixture(scope="module")
def expected(bundle, inputs):
    return {signature: bundle.call(signature, inputs) for signature in SIGNATURES}


def test_the_answers_are_worth_comparing(expected):
    cascade, retrieval = (expected[signature]["candidate_ids"] for signature in SIGNATURES)
    assert len({bytes(line[0]) for line in cascade}) > 2
    assert (cascade != retrieval).any()


def test_both_apis(bundle, given, expected):
    source = from_directory(bundle.directory.parent)
    with running(ServerOptions(source, 0, 0, batching=False)) as server:
        targets = (
            f"grpc://127.0.0.1:{server.grpc_port}/small",
            f"http://127.0.0.1:{server.rest_port}/small",
        )
        for target in targets:
            with Client(target, timeout_s=60.0) as client:
                for signature in SIGNATURES:
                    found, version = client.ask(signature, given)
                    same(found["candidate_ids"], found["scores"], expected[signature])
                    assert version == bundle.manifest.details["model_version"]
                chosen = expected["serving_default"]
                listed = [[name.decode() for name in line] for line in chosen["candidate_ids"]]
                for row, answer in enumerate(
                    client.pre_rank({"history": given["history"]}, listed)
                ):
                    np.testing.assert_allclose(answer.scores, chosen["scores"][row], atol=TOLERANCE)
        request = predict_pb2.PredictRequest(model_spec={"name": "small"})
        request.inputs["history"].CopyFrom(tf.make_tensor_proto(given["history"][:1]))
        with grpc.insecure_channel(targets[0].split("/")[2]) as channel:
            found = PredictionServiceStub(channel).Predict(request, timeout=60).outputs
        alone = bundle.call("serving_default", {"history": given["history"][:1]})
        same(*(tf.make_ndarray(found[name]) for name in ("candidate_ids", "scores")), alone)


def of_one_query(expected, row):
    """Its answer without places that hold no candidate."""
    ids, scores = (expected["serving_default"][name][row] for name in ("candidate_ids", "scores"))
    return {"candidate_ids": ids[ids != b""], "scores": scores[ids != b""]}


def as_words(given, row):
    """A query as somebody types it."""
    history = "|".join(name.decode() for name in given["history"][row] if name)
    return {"history": history}, [given[name][row] for name in ("exclude_ids", "allow", "deny")]


def test_queries_in_words(bundle, given, expected):
    for row in range(len(given["history"])):
        features, (excluded, allowed, denied) = as_words(given, row)
        found = ask(bundle, features, None, excluded, allowed, denied)
        ids = [name.encode() for name in found.candidate_ids]
        same(ids, found.scores, of_one_query(expected, row))


def test_the_command_line(bundle, given, expected, monkeypatch, capsys):
    row = 5  # it has exclusions and what to deny
    features, lists = as_words(given, row)
    assert lists[0]
    assert lists[2]
    options = [f"--set=history={features['history']}", "--json"]
    for option, values in zip(("--exclude", "--allow", "--deny"), lists, strict=True):
        options += [f"{option}={value}" for value in values]
    result = twotower(monkeypatch, capsys, "query", bundle.directory.parent, *options)
    assert result.code == 0, result.err
    found = json.loads(result.out)
    ids = [name.encode() for name in found["candidate_ids"]]
    same(ids, found["scores"], of_one_query(expected, row))
    assert found["model_version"] == bundle.manifest.details["model_version"]


def test_saved_model_cli(bundle, inputs, expected, tmp_path):
    for name, values in inputs.items():
        np.save(tmp_path / f"{name}.npy", values.astype(np.bytes_), allow_pickle=False)
    files = ";".join(f"{name}={tmp_path / name}.npy" for name in inputs)
    out = tmp_path / "out"
    words = ["saved_model_cli", "run", f"--dir={bundle.directory}", "--tag_set=serve"]
    words += ["--signature_def=serving_default", f"--inputs={files}", f"--outdir={out}"]
    flags.FLAGS(words)  # as its `main` does, without changing the process' logging
    saved_model_cli.create_parser().parse_args(words[1:2]).func()
    ids = np.load(out / "candidate_ids.npy", allow_pickle=True)
    same(ids, np.load(out / "scores.npy"), expected["serving_default"])


def test_the_cpp_loader(bundle, inputs, expected):
    requests = [(signature, inputs) for signature in SIGNATURES]
    requests += read_requests(bundle.directory / WARMUP_PATH)
    # TensorFlow Serving feeds the defaults of the SavedModel as they are.
    signature = read_signature_defs(bundle.directory).signature_def["serving_default"]
    defaults = {name: tf.make_ndarray(value) for name, value in signature.defaults.items()}
    assert set(defaults) == set(inputs)
    requests.append(("serving_default", {**defaults, "history": inputs["history"][:1]}))
    answers = answer_in_cpp(bundle.directory, requests)
    assert {name for name, _ in requests} == set(bundle.model.signatures)
    for (signature, given), answer in zip(requests, answers, strict=True):
        wanted = bundle.call(signature, given)
        assert set(wanted) == set(answer)
        for name, values in wanted.items():
            if values.dtype == np.float32:
                np.testing.assert_allclose(answer[name], values, atol=TOLERANCE)
            else:
                assert answer[name].tolist() == values.tolist()
    for signature, answer in zip(SIGNATURES, answers, strict=False):
        same(answer["candidate_ids"], answer["scores"], expected[signature])


def test_without_scanns_operations_the_cpp_loader_says_which(bundle, inputs):
    if bundle.manifest.details["index"] == "scann":
        with pytest.raises(LoaderFailed, match=r"Op type not registered 'Scann>"):
            answer_in_cpp(bundle.directory, [(SIGNATURES[0], inputs)], [])
