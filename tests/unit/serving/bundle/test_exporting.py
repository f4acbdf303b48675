"""What strangers' towers and vectors must be, to become a bundle."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import serving
from serving import TowerPair, TwoTowers, export_bundle
from serving.bundle.versions import list_versions
from serving.graph import cascade
from tests.fixtures.strangers import DIM, USERS, bare_vectors, keras_towers, normal
from tests.unit.serving import fakes
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import BundleError, ConfigError, DataError
from tfrs_twotower.index.answers import CandidateIds
from tfrs_twotower.keras_api import keras

TEXT = tf.TensorSpec([None], tf.string)


@pytest.fixture(scope="module")
def corpus():
    return bare_vectors().corpus


class Constant(tf.Module):
    """The same numbers, whatever the query."""

    def __init__(self, values):
        super().__init__()
        self._values = tf.Variable(values)

    def __call__(self, inputs):
        size = tf.shape(next(iter(inputs.values())))[0]
        return tf.tile(self._values, [size, 1])


RIGHT = Constant(np.ones((1, DIM), np.float32))
INPUTS = [
    ({}, r"query_inputs is empty; it must name every tensor"),
    ({"user id": TEXT}, "has the name 'user id'; an input is named like an ASCII Python variable"),
    ({"ü": TEXT}, "has the name 'ü'"),
    ({"class": TEXT}, "has the name 'class'"),
    ({"exclude_ids": TEXT}, "has the name 'exclude_ids'; .* and not exclude_ids, allow, deny"),
    (
        {"x": tf.TensorSpec([None], tf.int32)},
        r"\['x'\] is TensorSpec.*of type string, int64, float",
    ),
    ({"x": tf.TensorSpec([8], tf.string)}, r"of shape \[None\] or \[None, width\]"),
    ({"x": tf.TensorSpec([None, None], tf.string)}, "fix the width, and pad shorter lists"),
    ({"x": tf.TensorSpec([None, 2, 2], tf.float32)}, r"\['x'\] is TensorSpec"),
    ({"x": tf.TensorSpec(None, tf.float32)}, r"\['x'\] is TensorSpec"),
    ({"x": "string"}, r"\['x'\] is string; expected a tf\.TensorSpec"),
]


@pytest.mark.parametrize("number", range(len(INPUTS)))
def test_inputs_that_a_server_cannot_take(corpus, tmp_path, number):
    inputs, message = INPUTS[number]
    with pytest.raises(BundleError, match=message):
        export_bundle(TowerPair(RIGHT, query_inputs=inputs), corpus, tmp_path, name="shop")
    assert not list(tmp_path.iterdir())


def narrow():
    return Constant(np.ones((1, DIM - 1), np.float32))


TOWERS = [
    (narrow, rf"gives float32 of shape \(1, {DIM - 1}\) for one query; .* \(1, {DIM}\)"),
    (lambda: Constant(np.ones((1, DIM))), "gives float64 of shape .*cast to float32"),
    (lambda: lambda inputs: {"vector": inputs["x"]}, "gives dict of shape None"),
    (lambda: lambda inputs: inputs["y"], "cannot be called with x of one blank query"),
    (
        lambda: keras.layers.StringLookup(vocabulary=["a"], num_oov_indices=0),
        "it must take unknown values",
    ),
    (lambda: keras.Sequential([keras.layers.StringLookup(vocabulary=["a"])]), "a Sequential, goes"),
]


@pytest.mark.parametrize("number", range(len(TOWERS)))
def test_towers_that_give_something_else(corpus, tmp_path, number):
    tower, message = TOWERS[number]
    with pytest.raises(BundleError, match=message):
        export_bundle(TowerPair(tower(), query_inputs={"x": TEXT}), corpus, tmp_path, name="shop")
    both = TowerPair(RIGHT, tower(), query_inputs={"y": TEXT}, candidate_inputs={"x": TEXT})
    with pytest.raises(BundleError, match=r"export_bundle: the candidate tower|" + message):
        export_bundle(both, corpus, tmp_path, name="shop")
    assert not list(tmp_path.iterdir())


def test_a_function_around_a_model_hides_its_variables(corpus, tmp_path):
    hidden = TowerPair(lambda inputs: RIGHT(inputs), query_inputs={"x": TEXT})
    with pytest.raises(BundleError, match="uses a variable or table that it does not track"):
        export_bundle(hidden, corpus, tmp_path, name="shop")
    assert list_versions(tmp_path / "shop") == []


def test_an_object_that_is_no_pair_of_towers(corpus, tmp_path):
    with pytest.raises(BundleError, match="Sequential has no query_tower, candidate_tower, query_"):
        export_bundle(keras.Sequential(), corpus, tmp_path, name="shop")
    assert isinstance(keras_towers().towers, TwoTowers)
    assert isinstance(fakes.fake_towers(), TwoTowers)
    with pytest.raises(ValueError, match="has no name; a tower of one tensor needs one"):
        TowerPair(RIGHT, query_inputs=TEXT)


def test_vectors_and_settings_that_cannot_be(corpus, tmp_path):
    broken = corpus.with_vectors(np.where(np.eye(40, DIM) > 0, np.nan, corpus.vectors))
    with pytest.raises(DataError, match="candidates: 5 of 40 vectors hold a NaN"):
        export_bundle(None, broken, tmp_path, name="shop")
    with pytest.raises(DataError, match=rf"queries: .*shape \(2, 3\), expected .*, {DIM}\]"):
        export_bundle(None, corpus, tmp_path, name="shop", queries=np.ones((2, 3)))
    with pytest.raises(ConfigError, match=r"export_bundle: k: .*greater than 0"):
        export_bundle(None, corpus, tmp_path, name="shop", k=0)
    with pytest.raises(ConfigError, match=r"export_bundle: name: .*'\.\./shop'"):
        export_bundle(None, corpus, tmp_path, name="../shop")
    judged = QuerySet.of(corpus, {"user_id": USERS}, [[corpus.ids[0]]] * 12)
    with pytest.raises(BundleError, match="judged queries have user_id; the query tower takes emb"):
        export_bundle(None, corpus, tmp_path, name="shop", judged=judged)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", ["a\nb", "a\r", "a\0", "a\u2028b"])
def test_ids_that_cannot_be_served(tmp_path, bad):
    corpus = Corpus.of([bad, "x"], normal(0, 2, DIM))
    with pytest.raises(BundleError, match="must not be empty or contain a line break"):
        export_bundle(None, corpus, tmp_path, name="shop")
    assert list_versions(tmp_path / "shop") == []


def test_a_graph_that_answers_otherwise_than_the_index_is_not_published(
    corpus, tmp_path, monkeypatch
):
    shifted = lambda ids, _: CandidateIds(np.roll(ids, 1))  # noqa: E731
    monkeypatch.setattr(cascade.answers, "CandidateIds", shifted)
    with pytest.raises(BundleError, match="its answers differ from those of index by"):
        export_bundle(None, corpus, tmp_path, name="shop")
    assert list_versions(tmp_path / "shop") == []


def test_the_front_door_loads_nothing_before_it_is_asked():
    code = """
import sys
import serving
assert "tensorflow" not in sys.modules
assert sorted(serving.__all__) == list(serving.__all__) == dir(serving)
for name in serving.__all__:
    getattr(serving, name)
assert "tensorflow" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="module 'serving' has no attribute 'nothing'"):
        serving.nothing  # noqa: B018
