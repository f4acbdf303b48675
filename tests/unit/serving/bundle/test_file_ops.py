"""Which nodes of a graph reach outside of its SavedModel, found without loading it."""

import json
import sys
from functools import partial

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving.bundle import file_ops
from serving.bundle.file_ops import file_access
from serving.bundle.versions import SAVED_MODEL_NAME
from tests.unit.pipelines.cli.command import twotower

TEXT = tf.TensorSpec([None], tf.string, name="text")


def save(directory, function, **tracked):
    module = tf.Module()
    for name, value in tracked.items():
        setattr(module, name, value)
    signature = tf.function(function, autograph=False).get_concrete_function(TEXT)
    module.function = signature
    tf.saved_model.save(module, str(directory), signatures={"serving_default": signature})
    return directory


def ops_of(directory):
    return {access.op for access in file_access(directory)}


def read_file(text):
    return {"out": tf.io.read_file("/etc/hostname") + text}


def write_file(text):
    with tf.control_dependencies([tf.io.write_file("/tmp/out", text[0])]):
        return {"out": tf.identity(text)}


def list_files(text):
    return {"out": tf.io.matching_files(text)}


def restore(text):
    (value,) = tf.raw_ops.RestoreV2(
        prefix=text[0], tensor_names=["v"], shape_and_slices=[""], dtypes=[tf.string]
    )
    return {"out": value + text}


def save_tensors(text):
    written = tf.raw_ops.SaveV2(
        prefix=text[0], tensor_names=["v"], shape_and_slices=[""], tensors=[text]
    )
    with tf.control_dependencies([written]):
        return {"out": tf.identity(text)}


def python(text):
    return {"out": tf.numpy_function(lambda value: value, [text], tf.string)}


def print_to_file(text):
    with tf.control_dependencies([tf.print(text, output_stream="file:///tmp/out")]):
        return {"out": tf.identity(text)}


def hidden_in_a_branch(text):
    inner = tf.function(lambda: tf.io.read_file(text[0]), autograph=False)
    chosen = tf.cond(tf.size(text) > 3, inner, lambda: tf.constant(""))
    return {"out": chosen + text}


def hidden_in_a_data_set(text):
    lines = tf.data.TextLineDataset("/etc/hostname").map(tf.strings.upper)
    return {"out": lines.reduce(tf.constant(""), lambda all_, line: all_ + line) + text}


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (read_file, "ReadFile"),
        (write_file, "WriteFile"),
        (list_files, "MatchingFiles"),
        (restore, "RestoreV2"),
        (save_tensors, "SaveV2"),
        (python, "PyFunc"),
        (print_to_file, "PrintV2"),
        (hidden_in_a_branch, "ReadFile"),
        (hidden_in_a_data_set, "TextLineDataset"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_what_reaches_outside_is_named(tmp_path, function, op):
    assert ops_of(save(tmp_path, function, weights=tf.Variable([1.0]))) == {op}


def test_a_model_of_variables_assets_and_printed_lines_reaches_nothing(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    by_line = tf.lookup.TextFileInitializer(
        str(words),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    table, weights = tf.lookup.StaticHashTable(by_line, -1), tf.Variable([1.0, 2.0])

    def look_up(text):
        with tf.control_dependencies([tf.print("asked", output_stream=sys.stderr)]):
            return {"out": tf.cast(table.lookup(text), tf.float32) + weights[0]}

    saved = save(tmp_path / "model", look_up, table=table, weights=weights)
    assert file_access(saved) == ()
    # The same initializer with a path of its own is not the reading of an asset.
    message = read(saved)
    (graph,) = message.meta_graphs
    del graph.asset_file_def[:]
    write(saved, message)
    assert ops_of(saved) == {"InitializeTableFromTextFileV2"}
    graph.asset_file_def.add(filename="../../words.txt")
    write(saved, message)
    assert ops_of(saved) == {"InitializeTableFromTextFileV2", "asset"}


def read(directory):
    content = (directory / SAVED_MODEL_NAME).read_bytes()
    return saved_model_pb2.SavedModel.FromString(content)


def write(directory, message):
    (directory / SAVED_MODEL_NAME).write_bytes(message.SerializeToString())


def test_a_saver_reads_only_where_the_model_lies(tmp_path):
    """The restoring function with a path of its own; and with something else in it."""
    saved = save(tmp_path, lambda text: {"out": text + "!"}, weights=tf.Variable([1.0]))
    assert file_access(saved) == ()
    message = read(saved)
    graph = message.meta_graphs[0].graph_def
    restoring = next(f for f in graph.library.function if "restore" in f.signature.name)
    (node,) = (each for each in restoring.node_def if each.op == "RestoreV2")
    own, node.input[0] = node.input[0], "elsewhere:output:0"
    write(saved, message)
    assert [(found.op, found.function) for found in file_access(saved)] == [
        ("RestoreV2", restoring.signature.name)
    ]
    node.input[0] = own
    call = next(n for n in graph.node if n.attr["f"].func.name == restoring.signature.name)
    elsewhere = graph.node.add(name="elsewhere", op="Const")
    call.input[0] = elsewhere.name
    write(saved, message)
    assert ops_of(saved) == {"RestoreV2"}
    call.input[0] = "saver_filename"
    restoring.node_def.add(name="more", op="WriteFile")
    write(saved, message)
    assert ops_of(saved) == {"WriteFile"}


def test_a_bundle_reaches_nothing(whole_bundle):
    assert file_access(whole_bundle.directory) == ()


def test_the_list_has_only_operations_that_exist():
    assert set(dir(tf.raw_ops)) >= file_ops.OPS


def test_preflight_names_the_finding(tmp_path, monkeypatch, capsys):
    call = partial(twotower, monkeypatch, capsys)
    saved = save(tmp_path / "model", read_file)
    result = call("preflight", saved)
    assert result.code == 1
    assert "a stock TF Serving can load it" in result.out
    assert "with the rights of whoever loads it: ReadFile (node ReadFile of __inf" in result.err
    found = json.loads(call("preflight", saved, "--json").out)
    assert (found["loads"], found["missing_ops"]) == (True, [])
    assert [text.partition(" ")[0] for text in found["file_access"]] == ["ReadFile"]
