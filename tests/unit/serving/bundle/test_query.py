import pytest
import tensorflow as tf

from serving.bundle import query
from serving.bundle.loading import load_bundle
from serving.bundle.query import ask
from tests.reference.search import search
from tests.unit.serving import fakes
from tfrs_twotower.errors import BundleError
from tfrs_twotower.specs import MISSING_TIME


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return fakes.write_fake_bundle(tmp_path_factory.mktemp("b") / "shop").directory.parent


@pytest.fixture(scope="module")
def loaded(bundle):
    return load_bundle(bundle)


def test_words_in_words_out(bundle):
    answer = ask(load_bundle(bundle), {"size": "2", "recent": "a,b"}, k=3, exclude=["c02"])
    ids, scores = search(fakes.VECTORS[2], fakes.VECTORS, fakes.IDS, ["c02"], 3)
    assert answer.candidate_ids == ids
    assert answer.scores == pytest.approx(scores, abs=1e-6)
    assert answer.titles == ["" if name == "c00" else f"Title {name}" for name in ids]
    assert "-" in answer.model_version


def test_places_without_a_candidate_are_left_out(loaded):
    answer = ask(loaded, {"size": "1"}, exclude=fakes.IDS[2:])
    assert sorted(answer.candidate_ids) == ["c00", "c01"]
    assert len(answer.scores) == len(answer.titles) == 2


def test_an_unknown_feature(loaded):
    with pytest.raises(BundleError, match=r"no query feature 'colour' \(did you mean 'color'\?\)"):
        ask(loaded, {"colour": "red"})
    with pytest.raises(BundleError, match=r"'zzz'; it takes color, recent, size"):
        ask(loaded, {"zzz": "1"})
    with pytest.raises(BundleError, match="no query feature 'exclude_ids'"):
        ask(loaded, {"exclude_ids": "c01"})


def test_a_time_that_is_not_given_is_missing():
    spec = tf.TensorSpec([None], tf.int64)
    assert query._values("when", spec, None) == query._values("when", spec, " ") == [MISSING_TIME]
    assert query._values("when", spec, "-1") == [-1]  # the last second of 1969


def test_a_value_of_the_wrong_type(loaded):
    with pytest.raises(BundleError, match="feature 'size': found 'big', expected a number"):
        ask(loaded, {"size": "big"})


@pytest.mark.parametrize("k", [0, 7])
def test_k_that_the_bundle_does_not_have(loaded, k):
    with pytest.raises(BundleError, match=rf"k={k} was requested; .* 1 to 6 candidates"):
        ask(loaded, {"size": "1"}, k=k)


def test_an_unknown_signature_or_input(loaded):
    with pytest.raises(BundleError, match="no signature 'pre_ranking'; it has candidate_embedding"):
        loaded.call("pre_ranking", {})
    with pytest.raises(BundleError, match="takes color, recent, size; found shade, size"):
        loaded.call("query_embedding", {"size": [1.0], "shade": ["red"]})
    with pytest.raises(BundleError, match="the values do not fit the inputs of query_embedding"):
        loaded.call("query_embedding", {"color": ["a"], "recent": [["a"]], "size": ["x"]})
