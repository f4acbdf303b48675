import pytest
import tensorflow as tf

from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import MissingArtifact
from tfrs_twotower.features.lookup import HashLookup, VocabularyLookup, build_lookups


def test_padding_unknown_values():
    lookup = VocabularyLookup(["b", "a", "\u00e9"], "letters")
    rows = lookup(
        tf.constant([["", "b", "a"], ["\u00e9", "B", "\udcff".encode("utf-8", "surrogateescape")]])
    )
    assert rows.dtype == tf.int32
    assert rows.numpy().tolist() == [[0, 2, 3], [4, 1, 1]]
    assert lookup.num_rows == 2 + 3


def test_empty_vocabulary():
    assert VocabularyLookup([], "none")(tf.constant(["x", ""])).numpy().tolist() == [1, 0]


def test_hash_rows():
    lookup = HashLookup(5, "hashed")
    rows = lookup(tf.constant([f"value {i}" for i in range(200)])).numpy()
    assert set(rows) == {2, 3, 4, 5, 6}
    assert lookup.num_rows == 7
    assert lookup(tf.constant([""])).numpy().tolist() == [0]


def test_the_hash_stays_what_it_was():
    """It is part of every saved model: a change of it would break them all."""
    lookup = HashLookup(1000, "hashed")
    values = tf.constant(["value 0", "value 1", "value 2", "\u00e9"])
    assert lookup(values).numpy().tolist() == [381, 447, 792, 27]


def test_one_lookup_for_each_vocabulary(spec, assets):
    lookups = build_lookups(spec, assets)
    assert sorted(lookups) == ["brand", "item_id", "segment", "topics", "user_id"]
    assert lookups["topics"].num_rows == 2 + 6


def test_missing_vocabulary(spec):
    with pytest.raises(MissingArtifact, match=r"vocabularies/user_id\.txt.*found none"):
        build_lookups(spec, Assets({}, {}))
