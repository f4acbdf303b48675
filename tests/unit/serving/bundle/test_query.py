import time

import pytest
import tensorflow as tf

from serving.bundle import query
from serving.bundle.loading import load_bundle
from serving.bundle.query import ask
from tests.fixtures.tiny import tiny_spec
from tests.reference.search import search
from tests.unit.serving import fakes
from tfrs_twotower.data.known_queries import KnownQuery
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import BundleError, FeatureSpecError
from tfrs_twotower.specs import MISSING_TIME, FeatureSpec


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


WHEN = tf.TensorSpec([None], tf.int64)


@pytest.mark.parametrize("unit", ["s", "iso", None])
def test_a_time_that_is_not_given_is_missing(unit):
    for text in (None, " "):
        assert query._typed_values("when", WHEN, text, unit) == [MISSING_TIME]
    assert query._typed_values("when", WHEN, "-1", unit) == [-1]  # the last second of 1969


@pytest.mark.parametrize(
    ("text", "unit"),
    [("1780315200000", "ms"), ("2026-06-01T12:00:00", "iso"), ("2026-06-01T14:00:00+02:00", None)],
)
def test_a_time_as_the_tables_write_it(text, unit):
    assert query._typed_values("when", WHEN, text, unit) == [1_780_315_200]


def test_what_is_no_time_is_said_with_the_forms_that_are():
    expected = "found 'June', expected an integer .* or as ISO 8601, such as"
    with pytest.raises(BundleError, match=f"feature 'when': {expected}"):
        query._typed_values("when", WHEN, "June", "s")
    with pytest.raises(BundleError, match="after 2100 in the unit s"):
        query._typed_values("when", WHEN, "1780315200000", "s")


def test_the_unit_of_a_time_is_that_of_its_table():
    data = tiny_spec().model_dump(mode="json")
    data["interactions"]["timestamp"]["unit"] = "ms"
    data["query"]["features"] = [
        {"name": "hour", "kind": "timestamp"},
        {"name": "joined", "kind": "timestamp", "column": "since", "unit": "iso"},
    ]
    spec = parse(FeatureSpec, data, "spec", FeatureSpecError)
    assert query._time_units(spec) == {"hour": "ms", "joined": "iso"}


def test_an_id_that_excludes_nothing_is_said(loaded):
    answer = ask(loaded, {"size": "1"}, exclude=["c02", "C03", "elsewhere"])
    assert answer.warnings == [
        "C03 is not in the corpus (did you mean 'c03'?): it leaves nothing out.",
        "elsewhere is not in the corpus: it leaves nothing out.",
    ]


def test_an_unknown_id_of_a_history_is_said(whole):
    answer = ask(whole, {"history": "c01|C02|c03|"})
    meant = "C02 is not in the corpus (did you mean 'c02'?): it counts for nothing in history."
    assert answer.warnings == [meant]
    assert ask(whole, {"history": "c01|c03"}).warnings == []


def test_a_known_query_brings_its_values_and_leaves_out_what_it_has_seen(loaded):
    values = {"color": "red", "recent": ["c01", "gone"], "size": 2.0}
    answer = ask(loaded, {}, 3, ["c02"], known=KnownQuery("u", values, ["c17", "gone"]))
    ids, _ = search(fakes.VECTORS[2], fakes.VECTORS, fakes.IDS, ["c02", "c17"], 3)
    assert (answer.candidate_ids, answer.warnings) == (ids, [])
    typed = ask(loaded, {"size": "7"}, 3, known=KnownQuery("u", values, []))
    assert typed.candidate_ids == search(fakes.VECTORS[7], fakes.VECTORS, fakes.IDS, [], 3)[0]


def test_a_known_query_of_another_spec(loaded):
    with pytest.raises(BundleError, match=r"takes the query feature 'recent', .* of query 'u': it"):
        ask(loaded, {}, known=KnownQuery("u", {"color": "red", "size": 1.0}, []))


def test_the_time_of_a_known_query_is_now(loaded):
    known = KnownQuery("u", {"hour": None, "joined": 5, "lists": ["a"]}, [])
    (now,) = query._known_values(loaded, "hour", WHEN, known)
    assert 0 <= time.time() - now < 60
    assert query._known_values(loaded, "joined", WHEN, known) == [5]
    lists = tf.TensorSpec([None, 3], tf.string)
    assert query._known_values(loaded, "lists", lists, known) == [["a", "", ""]]


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
