"""Exclusions and restricts of every kind of search, on ten thousand random requests."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.unit.index.restricted_cases import DIM, Cases, K, make_cases
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.fill_rate import measure_fill_rates
from tfrs_twotower.index.ivf import IvfSearch, train_ivf
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.index.restricts import Attributes
from tfrs_twotower.index.scann_search import ScannSearch
from tfrs_twotower.index.scann_training import TrainingParameters, train_scann

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


def test_fill_rates_count_the_queries_that_need_no_exact_search(cases):
    queries = cases.batches[0]["queries"][:100]
    rates = measure_fill_rates(make("ivf", cases.vectors, 1), cases.attributes, queries, K)
    assert 0.0 < rates["genres"] < 1.0
    assert rates["id"] == 0.0  # one candidate never fills a list of seven
    exact = measure_fill_rates(
        make("brute_force", cases.vectors, None), cases.attributes, queries, K
    )
    assert exact == {"genres": 1.0, "year": 1.0, "id": 1.0}
