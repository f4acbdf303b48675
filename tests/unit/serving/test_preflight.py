import pytest
import tensorflow as tf

from serving.preflight import check_bundle
from tfrs_twotower.errors import BundleError


def test_a_server_that_is_unknown(tmp_path):
    with pytest.raises(BundleError, match="server 'nginx': allowed are stock, scann"):
        check_bundle(tmp_path, "nginx")


def test_what_is_no_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff not a proto")
    with pytest.raises(BundleError, match="not a SavedModel"):
        check_bundle(tmp_path)


def test_core_operations_are_known(tmp_path):
    module = tf.Module()
    module.f = tf.function(lambda x: tf.strings.length(x), autograph=False)
    module.f.get_concrete_function(tf.TensorSpec([None], tf.string))
    tf.saved_model.save(module, str(tmp_path))
    assert check_bundle(tmp_path) == ()
