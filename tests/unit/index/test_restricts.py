import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_spec
from tests.unit.index.restricted_cases import DIM, Cases, K, make_cases
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.ivf import IvfSearch, train_ivf
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.index.restricts import Attributes, CandidateAttributes
from tfrs_twotower.index.scann_search import ScannSearch
from tfrs_twotower.index.scann_training import TrainingParameters, train_scann

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


NUM_LEAVES = 9


@pytest.fixture(scope="module")
def cases() -> Cases:
    return make_cases()


def make(kind, vectors, leaves):
    if kind == "brute_force":
        return ExactSearch(vectors, chunk_rows=32)
    if kind == "ivf":
        trained = train_ivf(vectors, NUM_LEAVES, leaf_size=16)
        leaves = len(trained["rows"]) if leaves == NUM_LEAVES else leaves
        return IvfSearch(vectors, trained, SearchParameters(K, leaves, None), max_excluded=20)
    pytest.importorskip("scann")
    trained = train_scann(vectors, TrainingParameters(NUM_LEAVES, 0.2), K)
    return ScannSearch(vectors, trained, SearchParameters(K, leaves, 3 * K), max_excluded=20)


def answer_of(search, attributes):
    text = tf.TensorSpec([None, None], tf.string)
    return tf.function(
        lambda queries, excluded, allow, deny: search.search(
            queries, K, excluded, attributes.permits(allow, deny)
        ),
        input_signature=[
            tf.TensorSpec([None, DIM], tf.float32),
            tf.TensorSpec([None, None], tf.int32),
            text,
            text,
        ],
        autograph=False,
    )


@pytest.fixture(scope="module")
def answer(cases):
    """Graphs by kind and leaves, each traced once."""
    attributes = Attributes(cases.attributes)
    return functools.cache(
        lambda kind, leaves: answer_of(make(kind, cases.vectors, leaves), attributes)
    )


@pytest.mark.parametrize(
    ("kind", "leaves"),
    [("brute_force", None), ("scann", NUM_LEAVES), ("scann", 2), ("ivf", NUM_LEAVES), ("ivf", 1)],
)
def test_ten_thousand_requests_agree_with_the_oracle(cases, answer, kind, leaves):
    ask = answer(kind, leaves)
    for batch in cases.batches:
        inputs = (batch[name] for name in ("queries", "excluded", "allow", "deny"))
        scores, rows = (value.numpy() for value in ask(*inputs))
        found = rows >= 0
        allowed = np.take_along_axis(batch["allowed"], np.maximum(rows, 0), 1)
        assert allowed[found].all()
        assert all(len(set(line[line >= 0])) == (line >= 0).sum() for line in rows)
        expected = np.minimum(batch["allowed"].sum(axis=1), K)
        np.testing.assert_array_equal(found.sum(axis=1), expected)
        true = np.take_along_axis(batch["queries"] @ cases.vectors.T, np.maximum(rows, 0), 1)
        np.testing.assert_allclose(scores[found], true[found], atol=1e-5)
        assert (np.diff(scores, axis=1) <= 0).all()
        if leaves in (None, NUM_LEAVES):
            np.testing.assert_array_equal(rows, batch["rows"])


@pytest.mark.parametrize(
    ("kind", "leaves"), [("brute_force", None), ("scann", NUM_LEAVES), ("ivf", NUM_LEAVES)]
)
def test_an_empty_batch_and_one_query(cases, answer, kind, leaves):
    ask = answer(kind, leaves)
    none = np.zeros((0, 1), object)
    assert ask(np.zeros((0, DIM), np.float32), np.zeros((0, 1), np.int32), none, none)[1].shape == (
        0,
        K,
    )
    rows = ask(cases.vectors[4:5], [[-1]], [["", "id=c4"]], [[""]])[1].numpy()
    assert rows.tolist() == [[4] + [-1] * (K - 1)]


@pytest.mark.parametrize(("kind", "leaves"), [("brute_force", None), ("scann", 2), ("ivf", 1)])
def test_one_hostile_query_does_not_touch_its_neighbours(cases, answer, kind, leaves):
    ask = answer(kind, leaves)
    queries = np.stack([cases.vectors[0], np.full(DIM, np.nan, np.float32), cases.vectors[1]])
    excluded = np.full((3, 4000), -1, np.int32)
    excluded[1] = np.arange(4000) % len(cases.vectors)
    allow = np.full((3, 300), "", object)
    allow[1] = [f"genres=\x00{place}" for place in range(300)]
    rows = ask(queries, excluded, allow, [[""], [b"\xff\xfe"], [""]])[1].numpy()
    assert rows[1].tolist() == [-1] * K
    assert rows[[0, 2], 0].tolist() == [0, 1]
    assert (rows[[0, 2]] >= 0).all()
