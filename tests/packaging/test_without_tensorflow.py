"""What works in a process that cannot import TensorFlow: clients over REST, and bad paths."""

import gzip
import json
from contextlib import ExitStack

import pytest
import tensorflow as tf

from tests.packaging.fresh_process import output_of, run
from tests.unit.serving.fake_endpoint import FakeModel, rest_endpoint
from tests.unit.serving.fake_versions import publish_fake

HEAVY = (
    *("tensorflow", "tf_keras", "tensorflow_text", "tensorflow_recommenders", "scann"),
    *("apache_beam", "pandas", "pyarrow"),
)
COMMAND = "import sys; sys.argv = ['twotower', *{!r}]\nfrom pipelines.__main__ import main\nmain()"
TARGET = "http://localhost:9/mine"
VERSION_COMMANDS = (("rollback",), ("rollback", "--undo"), ("versions",))
BUNDLE_COMMANDS = (
    *VERSION_COMMANDS,
    *(("query",), ("query", "--similar", "c1"), ("query", "--query-id", "u1"), ("preflight",)),
    *(("refresh", "--candidates", __file__), ("serve",), ("verify",)),
    *(("recall-check", TARGET, "--bundle"), ("load-test", TARGET, "--bundle")),
)
FILE_COMMANDS = (
    *(("load-test", TARGET, "--queries"), ("serve", "--model-config-file")),
    ("import-embeddings", "--workdir", "w", "--name", "n", "--candidates"),
    ("init", "--interactions", __file__, "--candidates"),
    *(("compare", "--workdir", "w"), ("run", "--workdir", "w"), ("export", "--workdir", "w")),
)
CLIENT = """
from serving import Client, ShardedClient
answers = []
with Client({targets!r}[0], timeout_s=20.0) as client:
    answers += client.recommend({{"user_id": ["u"], "history": [["b"]]}}, exclude_ids=[["x"]])
    answers += client.pre_rank({{"user_id": ["u"]}}, [["x", "y"]])
with ShardedClient({targets!r}, k=3, timeout_s=20.0) as client:
    answers += client.recommend({{"user_id": ["u"]}})
print([answer.candidate_ids for answer in answers], answers[0].scores, answers[0].model_version)
"""
REQUESTS = """
from pathlib import Path
from serving.client.endpoint import parse_target
from serving.load_test.measurement import as_bytes, from_queries
for path in {paths!r}:
    requests = from_queries({target!r}, Path(path), "serving_default", 1)
    print(as_bytes(parse_target({target!r}), "serving_default", requests)[0].decode())
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *((arguments, "there is no bundle. Expected") for arguments in BUNDLE_COMMANDS),
        *((arguments, "there is no such file.") for arguments in FILE_COMMANDS),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_missing_path_is_said_before_anything_is_loaded(arguments, said, tmp_path):
    missing = tmp_path / "books"
    result = run(COMMAND.format([*arguments, str(missing)]), without=HEAVY, cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith(f"twotower: {missing}: {said}")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("arguments", [("recall-check", "--bundle"), ("load-test", "--queries")])
def test_what_is_no_target_is_said_before_anything_is_loaded(arguments, tmp_path):
    arguments = [arguments[0], "localhost:8501", *arguments[1:], str(tmp_path)]
    result = run(COMMAND.format(arguments), without=HEAVY, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("twotower: 'localhost:8501' does not name a model at a server")


def test_versions_are_listed_and_rolled_back_without_tensorflow(tmp_path):
    for version in (3, 5):
        publish_fake(tmp_path / "books", version)
    for arguments, said in zip(VERSION_COMMANDS, ("version 3.", "version 5.", ""), strict=True):
        arguments = [*arguments, str(tmp_path / "books")]
        assert said in output_of(COMMAND.format(arguments), without=HEAVY, cwd=tmp_path)
    wrong = run(COMMAND.format(["rollback", str(tmp_path / "books"), "--to", "4"]), without=HEAVY)
    assert "there is no version 4; there are 3, 5." in wrong.stderr


def test_the_clients_answer_over_rest(tmp_path):
    models = [FakeModel([("b", 2.0), ("a", 1.0)]), FakeModel([("c", 1.5)], version="8-abc")]
    with ExitStack() as stack:
        targets = [stack.enter_context(rest_endpoint(model)) for model in models]
        output = output_of(CLIENT.format(targets=targets), without=HEAVY, cwd=tmp_path)
    ids = [["b", "a"], ["x", "y"], ["b", "c", "a"]]
    assert output == f"{ids} [2.0, 1.0] 7-abc\n"
    assert models[0].requests[0]["exclude_ids"] == [["", "x"]]


def test_a_load_test_over_rest_replays_files_and_test_queries(tmp_path):
    example = tf.train.Example()
    example.features.feature["user_id"].bytes_list.value.append("ü".encode())
    example.features.feature["age"].float_list.value.append(-7.5)
    example.features.feature["event_time"].int64_list.value.append(-1)
    example.features.feature["_seen"].bytes_list.value.append(b"z")
    with tf.io.TFRecordWriter(str(tmp_path / "plain")) as writer:
        writer.write(example.SerializeToString())
    preprocessed, lines = tmp_path / "preprocessed", tmp_path / "queries.jsonl"
    preprocessed.mkdir()
    zipped = gzip.compress((tmp_path / "plain").read_bytes())
    (preprocessed / "test-00000-of-00001.tfrecord.gz").write_bytes(zipped)
    lines.write_text(json.dumps({"user_id": "ü", "age": -7.5, "event_time": -1}))
    with rest_endpoint(FakeModel()) as target:
        code = REQUESTS.format(paths=[str(preprocessed), str(lines)], target=target)
        first, second = output_of(code, without=HEAVY, cwd=tmp_path).splitlines()
    assert first == second
    inputs = json.loads(first)["inputs"]
    assert (inputs["user_id"], inputs["age"], inputs["event_time"]) == (["ü"], [-7.5], [-1])


def test_a_canary_asks_the_endpoint_before_it_loads_anything(tmp_path):
    publish_fake(tmp_path / "books", 5, model_version="5-abc")
    queries = tmp_path / "queries.jsonl"
    queries.write_text(json.dumps({"user_id": "u"}))
    arguments = ["--bundle", str(tmp_path / "books"), "--queries", str(queries)]
    model = FakeModel(version="9-abc")
    model.signatures["candidate_generation"] = model.signatures["serving_default"]
    with rest_endpoint(model) as target:
        code = COMMAND.format(["recall-check", target, *arguments])
        result = run(code, without=HEAVY, cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert "the endpoint serves 9-abc, which is not here" in result.stderr
    result = run(COMMAND.format(["recall-check", TARGET, *arguments]), without=HEAVY, cwd=tmp_path)
    assert result.returncode == 2
    assert "UNAVAILABLE" in result.stderr
