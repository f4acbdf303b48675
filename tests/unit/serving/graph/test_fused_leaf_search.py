"""The partitioned search as one operation; its oracle is the same index in core operations."""

import numpy as np
import pytest
import tensorflow as tf

from serving.bundle.server_ops import check_bundle
from serving.graph.fused_leaf_search import FusedLeafSearch
from tests.contracts.searcher_contract import SearcherContract, unit_vectors
from tests.unit.serving import fakes
from tfrs_twotower.index.ivf import IvfSearch, train_ivf
from tfrs_twotower.index.quality import SearchParameters
from tfrs_twotower.ranking.order import exact_top_k

pytestmark = pytest.mark.usefixtures("second_stage")


def make(vectors, clusters, searched, kind=FusedLeafSearch, leaf_size=8):
    trained = train_ivf(vectors, clusters, leaf_size)
    return kind(vectors, trained, SearchParameters(10, searched, None), max_excluded=1000)


class TestFusedLeafSearch(SearcherContract):
    def make(self, vectors):
        return make(vectors, max(1, len(vectors) // 10), len(vectors))


@pytest.mark.parametrize("searched", [1, 7, 400])
def test_it_finds_what_core_operations_find(searched):
    vectors, queries = unit_vectors(700, 37, 1), tf.constant(unit_vectors(9, 37, 2))
    scores, rows = make(vectors, 30, searched).search(queries, 40)
    wanted_scores, wanted = make(vectors, 30, searched, IvfSearch).search(queries, 40)
    np.testing.assert_array_equal(rows, wanted)
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5)


def test_all_leaves_is_exact_search():
    vectors, queries = unit_vectors(400, 16, 1), unit_vectors(20, 16, 2)
    rows = make(vectors, 20, 400).search(tf.constant(queries), 10)[1]
    np.testing.assert_array_equal(rows, exact_top_k(queries, vectors, 10)[1])


def test_what_does_not_fit_is_refused():
    search = make(unit_vectors(100, 16, 3), 5, 2)
    queries = tf.constant(unit_vectors(2, 16, 4))
    for embeddings, num_leaves, depth in (
        (queries[:, :8], 1, 1),
        (queries, 0, 1),
        (queries, 10**6, 1),
        (queries, 1, 0),
        (queries, 1, 10**6),
        (queries, -1, 1),
    ):
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
            search.look_at(embeddings, num_leaves, depth)
    search.rows = tf.Variable(search.rows[:-1])
    with pytest.raises(tf.errors.InvalidArgumentError, match="do not fit together"):
        search.look_at(queries, 1, 1)


@pytest.mark.parametrize("fused", [False, True])
def test_a_bundle_has_it_where_it_is_wanted(tmp_path, fused):
    written = fakes.write_fake_bundle(tmp_path / "shop", "ivf", fused_ops=fused)
    missing = ("Twotower>LeafSearch",) if fused else ()
    assert check_bundle(written.directory, "stock") == missing
