"""A bundle with a wide part and all members: it answers as offline, and a refresh keeps them."""

import numpy as np
import pytest
import tensorflow as tf

from serving.bundle.loading import load_bundle
from serving.bundle.refresh_files import RefreshFiles
from serving.bundle.server_ops import check_bundle
from serving.refresh.refresh import refresh_bundles
from serving.refresh.refreshed_release import RefreshRequest
from tests.fixtures.asking import answers
from tests.fixtures.small_release import (
    NUM_CANDIDATES,
    POOL,
    K,
    publish_release,
    small_corpus,
    small_queries,
    small_release,
    small_wide_part,
)
from tfrs_twotower.evaluation.pre_ranker_scores import PreRankerScores
from tfrs_twotower.towers.storage import load_towers

QUERIES = small_queries(20)
QUERIES["history"][0] = b""
QUERIES["history"][1] = b"unknown"
RAW = {"history": tf.constant(QUERIES["history"])}


@pytest.fixture(scope="module")
def whole_release(tmp_path_factory):
    root = tmp_path_factory.mktemp("wide")
    return small_release(root, small_corpus(), num_members=3, wide_part=True)


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory):
    """Exported without three candidates and with another price of one, then given the others."""
    root = tmp_path_factory.mktemp("refreshed")
    corpus = small_corpus(range(NUM_CANDIDATES - 3), c04=99.0)
    exported = publish_release(
        root / "small", small_release(root, corpus, num_members=3, wide_part=True)
    )
    request = RefreshRequest(small_corpus())
    return refresh_bundles([exported.directory.parent], request)[0].written.directory


@pytest.fixture(scope="module")
def whole(whole_release, tmp_path_factory):
    return publish_release(tmp_path_factory.mktemp("whole") / "small", whole_release).directory


def test_a_stock_server_loads_it(whole):
    assert check_bundle(whole, "stock") == ()


def test_retrieval_is_served_as_offline(whole, whole_release):
    towers = load_towers(whole_release.refresh.towers_dir)
    corpus = {name: tf.constant(values) for name, values in small_corpus().raw.items()}
    scores = towers.query(RAW).numpy() @ towers.candidate(corpus).numpy().T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    served = answers(load_bundle(whole), "candidate_generation", QUERIES)
    expected = np.array([f"c{row:02d}".encode() for row in order.ravel()], object)
    np.testing.assert_array_equal(served["candidate_ids"], expected.reshape(order.shape))
    best = np.take_along_axis(scores, order, axis=1)
    np.testing.assert_allclose(served["scores"], best, atol=1e-5)


def test_the_cascade_with_all_members_is_served_as_offline(whole, whole_release):
    release = whole_release
    towers, vectors = load_towers(release.refresh.towers_dir), release.corpus.vectors
    retrieval = towers.query(RAW).numpy() @ vectors.T
    rows = np.argsort(-retrieval, axis=1, kind="stable")[:, :POOL]
    pre_ranker = release.pre_ranker
    scores = pre_ranker.scores(
        pre_ranker.query_heads(RAW),
        tf.constant(rows),
        tf.constant(np.take_along_axis(retrieval, rows, axis=1)),
    ).numpy()
    evaluated = PreRankerScores(pre_ranker, QUERIES, release.refresh.pre_ranker_dir)(
        np.arange(len(rows)), rows, np.take_along_axis(retrieval, rows, axis=1)
    )
    np.testing.assert_allclose(evaluated, scores, atol=1e-6)
    best = -np.sort(-scores, axis=1)[:, :K]
    served = answers(load_bundle(whole), "serving_default", QUERIES)
    np.testing.assert_allclose(served["scores"], best, atol=1e-5)


@pytest.mark.parametrize("signature", ["serving_default", "candidate_generation"])
def test_a_refresh_equals_a_fresh_export(refreshed, whole, signature):
    ours, theirs = (answers(load_bundle(path), signature, QUERIES) for path in (refreshed, whole))
    np.testing.assert_array_equal(ours["candidate_ids"], theirs["candidate_ids"])
    np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=1e-5)


def test_new_candidates_have_no_linear_vector_and_the_count_of_the_unknown(refreshed):
    vectors, table = RefreshFiles(refreshed).vectors(), small_wide_part().candidates
    assert vectors.shape == (NUM_CANDIDATES, 8 + 6)
    np.testing.assert_array_equal(vectors[-3:, 8:], np.tile(table[1], (3, 1)))
    np.testing.assert_allclose(vectors[4, 8:], table[2 + 4])  # embedded anew, as before


def test_a_candidate_that_nobody_knows_can_be_embedded(whole):
    raw = {name: values[:1].copy() for name, values in small_corpus().raw.items()}
    raw["item_id"][0] = b"stranger"
    embedded = answers(load_bundle(whole), "candidate_embedding", raw)["embedding"]
    np.testing.assert_array_equal(embedded[0, 8:], small_wide_part().candidates[1])
