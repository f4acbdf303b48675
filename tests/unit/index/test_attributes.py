import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_spec
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.index.restricts import Attributes, CandidateAttributes

GENRES = np.array([[b"Comedy", b""], [b"Drama", b"Comedy"], [b"", b""], [b"a=b", b""]], object)
YEAR = np.array([b"1990", b"1991", b"1990", b""], object)
ATTRIBUTES = CandidateAttributes({"genres": GENRES, "year": YEAR})

BY_HAND = [
    ([""], [""], [1, 1, 1, 1]),
    (["genres=Comedy"], [""], [1, 1, 0, 0]),
    (["genres=Comedy", "genres=a=b"], [""], [1, 1, 0, 1]),
    (["genres=Comedy", "year=1990"], [""], [1, 0, 0, 0]),
    ([""], ["genres=Comedy"], [0, 0, 1, 1]),
    (["year=1990"], ["genres=Comedy", "genres=Unheard"], [0, 0, 1, 0]),
    (["genres=Unheard"], [""], [0, 0, 0, 0]),
    (["genres=Unheard", "genres=Drama"], [""], [0, 1, 0, 0]),
    (["colour=red"], [""], [0, 0, 0, 0]),
    (["genres"], [""], [0, 0, 0, 0]),
    (["year="], [""], [0, 0, 0, 0]),
    ([""], ["colour=red", "genres", "year=", "="], [1, 1, 1, 1]),
]


@pytest.mark.parametrize(("allow", "deny", "expected"), BY_HAND)
def test_by_hand(allow, deny, expected):
    permits = Attributes(ATTRIBUTES).permits(tf.constant([allow]), tf.constant([deny]))
    assert permits.of_range(0, 4).numpy().astype(int).tolist() == [expected]
    assert permits.of_range(1, 2).numpy().astype(int).tolist() == [expected[1:3]]
    rows = permits.of_rows(tf.constant([[3, -1, 0]])).numpy().astype(int)
    assert rows.tolist() == [[expected[3], 0, expected[0]]]


def test_queries_of_a_batch_stay_apart():
    permits = Attributes(ATTRIBUTES).permits(
        tf.constant([["", "genres=Drama"], ["", ""]]), tf.constant([[""], ["year=1990"]])
    )
    assert permits.of_range(0, 4).numpy().astype(int).tolist() == [[0, 1, 0, 0], [0, 1, 0, 1]]
    second = permits.of_queries(tf.constant([1]))
    assert second.of_range(0, 4).numpy().astype(int).tolist() == [[0, 1, 0, 1]]


def test_what_can_be_declared():
    features = tiny_spec().candidate.features
    text = next(feature.name for feature in features if feature.kind == "text")
    for name in (text, "unheard"):
        with pytest.raises(ConfigError, match=f"export.restricts: found '{name}'; .*which are "):
            CandidateAttributes.of({text: YEAR}, features, [name])


def test_some_rows_only():
    assert ATTRIBUTES.rows(np.array([3, 1])).values["year"].tolist() == [b"", b"1991"]
