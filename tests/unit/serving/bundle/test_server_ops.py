import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as text

from serving.bundle.server_ops import check_bundle, python_imports, read_ops, way_out
from tfrs_twotower.errors import BundleError


def test_a_server_that_is_unknown(tmp_path):
    with pytest.raises(BundleError, match="server 'nginx': allowed are stock, scann"):
        check_bundle(tmp_path, "nginx")


def test_what_is_no_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff not a proto")
    with pytest.raises(BundleError, match="not a SavedModel"):
        check_bundle(tmp_path)


def save(directory, function, dtype):
    """A SavedModel with one signature: only what a signature reaches counts."""
    traced = tf.function(lambda x: {"y": function(x)}, autograph=False)
    concrete = traced.get_concrete_function(tf.TensorSpec([None], dtype, name="x"))
    tf.saved_model.save(tf.Module(), str(directory), signatures={"serving_default": concrete})


def test_core_operations_are_known(tmp_path):
    save(tmp_path, tf.strings.length, tf.string)
    assert "StringLength" in read_ops(tmp_path)
    assert check_bundle(tmp_path) == ()


def test_a_process_of_tensorflow_alone_lacks_the_text_operations(tmp_path):
    save(tmp_path, text.case_fold_utf8, tf.string)
    assert check_bundle(tmp_path, "stock") == ()
    missing = check_bundle(tmp_path, "tensorflow")
    assert missing == ("CaseFoldUTF8",)
    assert python_imports(tmp_path) == ("tensorflow_text",)
    assert "In Python, import tensorflow_text before" in way_out(missing, "tensorflow")


def test_a_process_of_python_runs_functions_of_python(tmp_path):
    save(tmp_path, lambda x: tf.numpy_function(np.sin, [x], tf.float32), tf.float32)
    assert check_bundle(tmp_path, "tensorflow") == ()
    assert python_imports(tmp_path) == ()


def test_a_function_of_python_is_in_no_server(tmp_path):
    save(tmp_path, lambda x: tf.numpy_function(np.sin, [x], tf.float32), tf.float32)
    assert check_bundle(tmp_path, "scann") == ("PyFunc",)


def test_branches_and_loops_are_looked_into(tmp_path):
    def function(x):
        def branch():
            return tf.map_fn(lambda one: tf.numpy_function(np.sin, [one], tf.float32), x)

        return tf.cond(tf.reduce_any(x > 0.0), branch, lambda: x)

    save(tmp_path, function, tf.float32)
    assert check_bundle(tmp_path, "scann") == ("PyFunc",)


def test_what_to_do_about_missing_operations():
    assert "`index: brute_force` in export.bundles" in way_out(["Scann>ScannSearchBatched"])
    assert "change what needs them" in way_out(["PyFunc", "Scann>ScannSearchBatched"])
