"""What a signature does without an input, and what marks a number as missing."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from serving.bundle.loading import load_bundle
from serving.graph import names, signatures
from tests.unit.serving import fakes
from tfrs_twotower.errors import BundleError
from tfrs_twotower.specs import MISSING_TIME

MISSING = {"color": [""], "recent": [["", "", ""]], "size": [np.nan]}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return fakes.write_fake_bundle(tmp_path_factory.mktemp("bundles") / "fake")


@pytest.fixture(scope="module")
def loaded(written):
    return load_bundle(written.directory)


def defaults_in(version_dir):
    """Defaults of each signature, as a C++ server reads them from the SavedModel."""
    content = (version_dir / "saved_model.pb").read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    return {
        name: {key: tf.make_ndarray(value) for key, value in definition.defaults.items()}
        for name, definition in graph.signature_def.items()
    }


def test_the_saved_model_has_one_query_without_values(written):
    found = defaults_in(written.directory)
    lists = {**MISSING, "exclude_ids": [[""]]}
    expected = {
        "serving_default": lists,
        "candidate_generation": lists,
        "query_embedding": MISSING,
        "candidate_embedding": {"item_id": [""], "price": [np.nan]},
        "serving_examples": {},
    }
    assert {name: found[name].keys() for name in expected} == {
        name: values.keys() for name, values in expected.items()
    }
    for signature, values in expected.items():
        for name, value in values.items():
            array = found[signature][name]
            if array.dtype == object:
                assert array.astype(str).tolist() == value
            else:
                np.testing.assert_array_equal(array, np.array(value, np.float32))


def test_the_fingerprint_is_that_of_the_file_with_defaults(written):
    again = fingerprinting_utils.fingerprinting_pywrap.CreateFingerprintDef(str(written.directory))
    again = fingerprint_pb2.FingerprintDef.FromString(again)
    found = tf.saved_model.experimental.read_fingerprint(str(written.directory))
    assert found.signature_def_hash == again.signature_def_hash
    assert found.graph_def_program_hash == again.graph_def_program_hash


def test_times_lists_and_what_a_signature_is_asked_about():
    inputs = {
        "seen_at": tf.TensorSpec([None], tf.int64),
        "allow": tf.TensorSpec([None, None], tf.string),
        "numbers": tf.TensorSpec([None, 2], tf.float32),
        **signatures.listed_candidates(),
        **signatures.example_inputs(),
        "embedding": tf.TensorSpec([None, 8], tf.float32),
    }
    found = signatures.defaults(inputs)
    assert list(found) == ["seen_at", "allow", "numbers"]
    assert found["seen_at"].tolist() == [MISSING_TIME]
    assert found["allow"].tolist() == [[""]]
    assert np.isnan(found["numbers"]).tolist() == [[True, True]]


def test_what_a_caller_leaves_out_is_missing(loaded):
    sizes = np.array([3.0, 8.0, 1.0], np.float32)
    short = loaded.call("serving_default", {"size": sizes})
    full = loaded.call("serving_default", fakes.requests(3, [[], [], []], sizes))
    for name, values in full.items():
        np.testing.assert_array_equal(short[name], values)
    colors = loaded.call("query_embedding", {"color": ["a"]})["embedding"]
    np.testing.assert_array_equal(colors, fakes.VECTORS[:1])  # the tower's row for no size
    with pytest.raises(BundleError, match="takes color, exclude_ids, recent, size; found nothing"):
        loaded.call("serving_default", {})
    with pytest.raises(BundleError, match="takes color, recent, size; found colour"):
        loaded.call("query_embedding", {"colour": ["a"]})


@pytest.mark.parametrize("mark", [names.MISSING_NUMBER, -3.4028235e38, np.nan])
def test_a_very_small_number_is_as_missing_as_nan(loaded, mark):
    marked = {"size": np.array([mark, 4.0], np.float32)}
    embedding = loaded.call("query_embedding", marked)["embedding"]
    np.testing.assert_array_equal(embedding, fakes.VECTORS[[0, 4]])
    lists = loaded.call("serving_default", marked)
    assert lists["candidate_ids"][:, 0].tolist() == [b"c00", b"c04"]
    priced = loaded.call("candidate_embedding", {"price": np.array([mark], np.float32)})
    np.testing.assert_array_equal(priced["embedding"], fakes.VECTORS[:1])


def test_a_number_above_the_mark_is_a_number(loaded):
    # The fake tower's row of a number is the number modulo 25.
    number = np.float32(-9.9e37)
    row = int(np.mod(number, np.float32(25.0))) % 25
    found = loaded.call("query_embedding", {"size": np.array([number])})["embedding"]
    np.testing.assert_array_equal(found, fakes.VECTORS[row : row + 1])
    assert row != 0
