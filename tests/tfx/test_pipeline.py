"""The whole pipeline on planted tables: pushed, cached, traced, inferred; and a worse model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tfx.library import twotower, write_library

pytest.importorskip(
    "tfx", reason="needs the environment with TFX: make test-tfx", exc_type=ImportError
)
pytestmark = pytest.mark.filterwarnings("ignore")  # what TFX and its libraries warn of
ROOT = Path(__file__).parents[2]
NUM_READERS = 120
OWN = {
    "Preprocess", "Train", "Embed", "BuildIndex", "Mine", "TrainPreRanker", "Export", "Evaluate",
}  # fmt: skip
STOCK = {"StatisticsGen", "SchemaGen", "ExampleValidator", "BulkInferrer", "Pusher"}


class Pipeline:
    """One pipeline's directories, and its command."""

    def __init__(self, directory):
        self.config = write_library(directory)
        self.root, self.served = directory / "tfx", directory / "served" / "library"

    def run(self, *arguments, code=0):
        command = ("tfx", "run", self.config, "--root", self.root, "--push-to", self.served)
        return json.loads(twotower(*command, "--json", *arguments, code=code))

    def versions(self):
        return sorted(path.name for path in self.served.iterdir())


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return Pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def first(pipeline):
    return pipeline.run("--infer")


@pytest.fixture(scope="module")
def pushed(first):
    return Path(first["pushed"])


def test_the_first_run_does_everything_and_pushes(first, pipeline):
    assert {*OWN, *STOCK, "RequestExamples"} <= set(first["states"])
    assert set(first["states"].values()) == {"COMPLETE"}
    assert first["blessed"]
    assert pipeline.versions() == [Path(first["pushed"]).name]


def test_the_pushed_bundle_answers(first, pipeline):
    answer = json.loads(twotower("query", pipeline.served, "--set", "town=Oslo", "--json"))
    assert len(answer["candidate_ids"]) == 20
    assert answer["candidate_ids"][0].startswith("B-")
    assert "all as published" in twotower("verify", pipeline.served)


def test_the_second_run_comes_from_the_cache(first, pipeline):
    again = pipeline.run("--infer")
    assert set(again["states"].values()) == {"CACHED"}
    assert again["states"].keys() == first["states"].keys()
    assert len(pipeline.versions()) == 1


def test_a_setting_of_a_late_stage_leaves_the_early_ones_in_the_cache(first, pipeline):
    states = pipeline.run("--infer", "--set", "export.max_excluded=150")["states"]
    assert states["Export"] == states["Evaluate"] == "COMPLETE"
    assert {states[name] for name in OWN - {"Export", "Evaluate"}} == {"CACHED"}
    shutil.rmtree(pipeline.served / pipeline.versions()[-1])


def test_lineage_leads_from_the_bundle_to_the_tables(pushed, pipeline):
    origins = json.loads(twotower("tfx", "lineage", "--root", pipeline.root, pushed, "--json"))
    by_number = {origin["number"]: origin for origin in origins}
    assert origins[0]["properties"]["pushed_destination"] == str(pushed)
    tables = {o["properties"]["table"]: o["uri"] for o in origins if o["kind"] == "pipelines.Table"}
    directory = pipeline.config.parent / "tables"
    assert tables == {
        "interactions": str(directory / "Loans.csv"),
        "candidates": str(directory / "Books.csv"),
        "queries": str(directory / "Readers.csv"),
    }
    preprocessed = next(o for o in origins if o["kind"] == "pipelines.Preprocessed")
    sources = [by_number[number]["kind"] for number in preprocessed["made_from"]]
    assert sources == ["pipelines.Table"] * 3
    with_path = twotower("tfx", "lineage", "--root", pipeline.root)
    assert f"pipelines.Table  {directory / 'Loans.csv'}, table interactions, content" in with_path


def test_the_bulk_inferrer_answers_every_reader_as_the_bundle_does(pushed, pipeline):
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from serving.bundle.loading import load_bundle

    logs = list(pipeline.root.glob("BulkInferrer/inference_result/*/prediction_logs-*.gz"))
    answers = {}
    for record in tf.data.TFRecordDataset([str(path) for path in logs], "GZIP"):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log
        [request] = log.request.inputs["examples"].string_val
        answers[request] = list(log.response.outputs["candidate_ids"].string_val)
    assert len(answers) == NUM_READERS
    requests = sorted(answers)[:5]
    expected = load_bundle(pushed).call("serving_examples", {"examples": requests})
    assert [answers[request] for request in requests] == expected["candidate_ids"].tolist()
    parsed = tf.train.Example.FromString(requests[0]).features.feature
    seen = set(parsed["exclude_ids"].bytes_list.value)
    assert seen
    assert not seen & set(answers[requests[0]])


def test_a_worse_model_is_not_blessed_and_nothing_is_pushed(first, pipeline):
    before = pipeline.versions()
    worse = pipeline.run(
        "--set", "training.optimizer.learning_rate=1e-7", "--set", "training.epochs=1",
        "--set", "pre_ranking=null", code=1,
    )  # fmt: skip
    assert not worse["blessed"]
    assert worse["pushed"] == ""
    assert "that the served version has on the same queries" in worse["reasons"]
    assert pipeline.versions() == before
    blessings = pipeline.root.glob("Evaluate/blessing/*/NOT_BLESSED")
    assert len(list(blessings)) == 1


def test_a_version_below_a_floor_is_not_blessed(first, pipeline):
    refused = pipeline.run("--infer", "--floor", "recall@20=0.999", code=1)
    assert refused["states"]["Export"] == "CACHED"
    assert "below 0.999" in refused["reasons"]


def test_changed_rows_are_computed_again(first, pipeline):
    loans = pipeline.config.parent / "tables" / "Loans.csv"
    before = loans.read_text()
    loans.write_text(before.rpartition("\n")[0].rpartition("\n")[0] + "\n")
    try:
        states = pipeline.run("--infer")["states"]
    finally:
        loans.write_text(before)
    assert states["Preprocess"] == "COMPLETE"


def test_the_other_environment_serves_the_pushed_bundle(first, pipeline, other_python):
    question = ("query", pipeline.served, "--set", "town=Oslo", "--json")
    here, there = (
        json.loads(twotower(*question, python=p)) for p in (sys.executable, other_python)
    )
    assert there["candidate_ids"][:10] == here["candidate_ids"][:10]


def test_a_bundle_of_the_other_environment_is_served_here(pipeline, other_python, tmp_path):
    made = ("run", pipeline.config, "--workdir", tmp_path, "--for", "export")
    twotower(*made, python=other_python)
    question = ("query", tmp_path / "bundle" / "library", "--query-id", "reader 1", "--json")
    here, there = (
        json.loads(twotower(*question, python=p)) for p in (sys.executable, other_python)
    )
    assert there["candidate_ids"][:10] == here["candidate_ids"][:10]


@pytest.fixture
def other_python():
    """The Python of the environment with the newest TensorFlow."""
    python = os.environ.get("TWOTOWER_OTHER_PYTHON", "")
    if not python:
        pytest.skip("TWOTOWER_OTHER_PYTHON names no Python: make test-tfx does")
    return python


def test_the_specification_for_kubeflow_names_every_stage(pipeline, tmp_path):
    out = tmp_path / "library.json"
    twotower(
        "tfx", "compile", pipeline.config, "--root", "gs://bucket/root",
        "--image", "registry/image:1",
        "--push-to", "gs://bucket/served", "--out", out, "--", "--runner=DataflowRunner",
    )  # fmt: skip
    spec = json.loads(out.read_text())["pipelineSpec"]
    tasks = spec["root"]["dag"]["tasks"]
    assert {*OWN, "Pusher", "Table.interactions"} <= set(tasks)
    assert "Preprocess" in tasks["Train"]["dependentTasks"]
    executors = spec["deploymentSpec"]["executors"].values()
    images = {one["container"]["image"] for one in executors if "container" in one}
    assert images == {"registry/image:1"}
    embed = spec["deploymentSpec"]["executors"]["Embed_executor"]["container"]
    assert "--runner=DataflowRunner" in " ".join(embed["args"])
    documents = json.loads((tmp_path / "library.documents.json").read_text())
    assert documents["run_config"]["name"] == "library"


def test_kubeflows_entry_point_runs_a_component_of_the_specification(pipeline, tmp_path):
    out, root = tmp_path / "library.json", tmp_path / "root"
    compiled = ("--image", "registry/image:1", "--push-to", tmp_path / "served", "--out", out)
    twotower("tfx", "compile", pipeline.config, "--root", root, *compiled)
    root.mkdir()
    shutil.move(tmp_path / "library.documents.json", root / "documents.json")
    spec = json.loads(out.read_text())["pipelineSpec"]
    [executor] = [
        one["container"]
        for name, one in spec["deploymentSpec"]["executors"].items()
        if name == "Preprocess_executor"
    ]
    schema = spec["components"]["Preprocess"]["outputDefinitions"]["artifacts"]["preprocessed"]
    place = {"name": "1", "uri": str(root / "p" / "1"), "type": schema["artifactType"]}
    parameters = {
        name: value["runtimeValue"]["constantValue"]
        for name, value in spec["root"]["dag"]["tasks"]["Preprocess"]["inputs"][
            "parameters"
        ].items()
    }
    invocation = {
        "inputs": {"parameters": parameters},
        "outputs": {
            "artifacts": {"preprocessed": {"artifacts": [place]}},
            "outputFile": str(root / "task" / "output.json"),
        },
    }
    arguments = [json.dumps(invocation) if one == "{{$}}" else one for one in executor["args"]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", *executor["command"][1:], *arguments]
    subprocess.run(command, check=True, env=environment)
    assert (root / "p" / "1" / "manifest.json").is_file()
    written = json.loads((root / "task" / "output.json").read_text())
    [artifact] = written["artifacts"]["preprocessed"]["artifacts"]
    assert len(artifact["metadata"]["manifest_fingerprint"]) == 16


def test_the_stock_trainer_trains_from_examples(tmp_path):
    config = write_library(tmp_path)
    program = "tests.tfx.trainer_pipeline"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-m", program, tmp_path / "root", config]
    subprocess.run(command, check=True, env=environment)
    served = tmp_path / "root" / "served"
    answer = json.loads(twotower("query", served, "--set", "town=Oslo", "--json"))
    assert len(answer["candidate_ids"]) == 20
    [run] = (tmp_path / "root").glob("Trainer/model_run/*")
    counts = json.loads((run / "preprocessed" / "manifest.json").read_text())["counts"]
    assert counts["interactions"] == 1680
