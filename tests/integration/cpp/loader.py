"""Lets TensorFlow's C++ loader answer requests, in a process without Python's TensorFlow."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving.bundle.server_ops import SCANN_NAMESPACE, TEXT_OPS

_PROGRAM = Path(__file__).with_name("cpp_session.py")
_LIBRARY = "libtensorflow_cc.so.2"


class LoaderFailed(Exception):
    """What the program said."""


def answer_in_cpp(version: Path, requests: list, op_libraries: list[Path] | None = None) -> list:
    """What TensorFlow's C++ loader answers: arrays by output name for each request.

    The test is skipped where TensorFlow comes without its C++ library.

    Args:
        version: directory of a bundle version.
        requests: names of signatures with their inputs, arrays by name.
        op_libraries: by default those of `op_libraries_of`.
    """
    library = Path(tf.sysconfig.get_lib()) / _LIBRARY
    if not library.exists():
        pytest.skip(f"this TensorFlow has no {_LIBRARY}")
    signatures = _meta_graph(version).signature_def
    if op_libraries is None:
        op_libraries = op_libraries_of(version)
    plan = {
        "version": str(version),
        "op_libraries": [str(path) for path in op_libraries],
        "requests": [_as_json(signatures[name], inputs) for name, inputs in requests],
    }
    with tempfile.TemporaryDirectory() as scratch:
        plan_path, answers_path = Path(scratch) / "plan.json", Path(scratch) / "answers.json"
        plan_path.write_text(json.dumps(plan), encoding="utf-8")
        command = [sys.executable, "-I", _PROGRAM, library, plan_path, answers_path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoaderFailed(done.stderr)
        answers = json.loads(answers_path.read_text(encoding="utf-8"))
    return [
        {output: _as_array(answer[info.name]) for output, info in signatures[name].outputs.items()}
        for (name, _), answer in zip(requests, answers, strict=True)
    ]


def op_libraries_of(version: Path) -> list[Path]:
    """Shared libraries with the operations of a graph that are not TensorFlow's own."""
    graph = _meta_graph(version).graph_def
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    ops = {node.op for node in nodes}
    found: list[Path] = []
    if any(name.startswith(SCANN_NAMESPACE) for name in ops):
        found.append(_package("scann") / "scann_ops" / "cc" / "_scann_ops.so")
    if TEXT_OPS.intersection(ops):
        found += sorted((_package("tensorflow_text") / "python" / "ops").glob("*.so"))
    return found


def read_requests(path: Path) -> list:
    """The requests of a warm-up file: names of signatures with their inputs."""
    found = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found


def _meta_graph(version: Path):
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    return graph


def _as_json(signature, inputs):
    assert set(inputs) == set(signature.inputs)
    sent = {}
    for name, info in signature.inputs.items():
        values = np.asarray(inputs[name])
        flat = values.ravel().tolist()
        if info.dtype == tf.string.as_datatype_enum:
            flat = [value.decode("latin-1") for value in flat]
        sent[info.name] = {"dtype": info.dtype, "shape": list(values.shape), "values": flat}
    return {"inputs": sent, "outputs": [info.name for info in signature.outputs.values()]}


def _as_array(tensor):
    values = tensor["values"]
    if tensor["dtype"] == tf.string.as_datatype_enum:
        return np.array([text.encode("latin-1") for text in values], object).reshape(
            tensor["shape"]
        )
    return np.array(values, tf.as_dtype(tensor["dtype"]).as_numpy_dtype).reshape(tensor["shape"])


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))
