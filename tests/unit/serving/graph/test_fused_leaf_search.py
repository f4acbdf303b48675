"""The partitioned search as one operation; its oracle is the same index in core operations."""

import numpy as np
import pytest
import tensorflow as tf

from serving.bundle.loading import load_bundle
from serving.bundle.server_ops import check_bundle
from serving.graph.fused_leaf_search import FusedLeafSearch
from serving.ops import library
from tests.contracts.searcher_contract import SearcherContract, unit_vectors
from tests.fixtures import large_pages
from tests.integration.cpp import loader
from tests.unit.serving import fakes
from tests.unit.serving.bundle.test_cascade_bundle import RAW
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


@large_pages.needed
def test_codes_and_vectors_move_into_large_pages_when_they_are_first_read():
    """Smaller codes may lie where NumPy had an array, which is in large pages from the start."""
    vectors = np.zeros((512_000, 64), np.float32)
    rows = np.arange(512_000, dtype=np.int32).reshape(512, 1000)
    trained = {"centroids": np.zeros((512, 64), np.float32), "rows": rows}
    search = FusedLeafSearch(vectors, trained, SearchParameters(10, 1, None), max_excluded=1)
    query = tf.ones([1, 64])
    first = search.search(query, 5)
    assert large_pages.wait_for(search.leaves)
    assert large_pages.wait_for(search.exact.vectors)
    for found, again in zip(first, search.search(query, 5), strict=True):
        np.testing.assert_array_equal(found, again)


def test_candidates_that_eight_bits_cannot_tell_apart_are_told_apart():
    """All of a leaf lie within a step of the codes: only a bound that is large enough shows it."""
    random = np.random.default_rng(5)
    centres = unit_vectors(6, 24, 3)
    vectors = np.repeat(centres, 50, axis=0)
    vectors[:, 0] += random.normal(size=300, scale=0.5)  # the codes' steps are about .01
    vectors[:, 1:] += random.normal(size=(300, 23), scale=1e-3)
    queries = unit_vectors(9, 24, 6)
    queries[:, 0] = 0.0
    vectors = vectors.astype(np.float32)
    for kind in (FusedLeafSearch, IvfSearch):
        rows = make(vectors, 6, 400, kind, leaf_size=48).search(tf.constant(queries), 20)[1]
        wanted = exact_top_k(queries, vectors, 20)[1]
        np.testing.assert_array_equal(np.sort(rows), np.sort(wanted))


def test_what_a_query_loses_in_rounding_decides_nothing():
    """Rounding takes the same from every entry of a query, of which all candidates are multiples.

    Half of them lose 1e-4 by it and the others gain as much, where 1e-5 decides. Their codes are
    exact, so that nothing but the bound of the query's own rounding tells that they may be better.
    """
    step, largest = 1 / 32767, 0.125
    query = np.full((1, 59), 4.47 * step, np.float32)
    query[0, 0] = 1.0
    better = np.full(59, largest, np.float32)
    better[0] = -largest / 127
    vectors = np.concatenate([np.tile(-better, (16, 1)), np.tile(better, (16, 1))])
    gains = query @ vectors.T
    assert 0 < gains[0, 16] - gains[0, 0] < 2e-5
    rows = np.arange(32, dtype=np.int32)[None]
    trained = {"centroids": np.zeros((1, 59), np.float32), "rows": rows}
    search = FusedLeafSearch(vectors, trained, SearchParameters(16, 1, None), max_excluded=1)
    np.testing.assert_array_equal(search.search(tf.constant(query), 16)[1], rows[:, 16:])


@pytest.mark.parametrize("dim", [1, 6, 64])
def test_products_of_codes_are_as_near_as_their_errors_say(dim):
    """The blocks read as `serving/ops/codes.h` describes them."""
    random = np.random.default_rng(dim)
    vectors = random.normal(size=(100, dim)) * random.lognormal(size=(100, 1), sigma=3.0)
    vectors = vectors.astype(np.float32)
    search = make(vectors, 10, 4, leaf_size=20)
    leaves, rows = search.leaves.numpy(), search.rows.numpy()
    numbers = leaves[..., :128].copy().view(np.float32)
    words = leaves[..., 128:].reshape(*leaves.shape[:2], -1, 16, 4)
    codes = words.swapaxes(2, 3).reshape(*leaves.shape[:2], 16, -1)[..., :dim] - 128.0
    queries = unit_vectors(7, dim, 1).astype(np.float64)
    seen = 0
    for leaf, row_of in enumerate(rows):
        for place, row in enumerate(row_of):
            block, lane = divmod(place, 16)
            scale, error = numbers[leaf, block, [lane, 16 + lane]]
            if row < 0:
                assert np.isnan(scale)
                continue
            near = queries @ (search.centroids.numpy()[leaf] + scale * codes[leaf, block, lane])
            lost = np.abs(queries @ vectors[row].astype(np.float64) - near)
            assert (lost <= error).all()
            seen += 1
    assert seen == 100


def test_all_leaves_is_exact_search():
    vectors, queries = unit_vectors(400, 16, 1), unit_vectors(20, 16, 2)
    rows = make(vectors, 20, 400).search(tf.constant(queries), 10)[1]
    np.testing.assert_array_equal(rows, exact_top_k(queries, vectors, 10)[1])


@pytest.mark.parametrize(
    ("embedding", "excluded", "is_usual"),
    [(1.0, -1, True), (1.0, 3, False), (np.nan, -1, False), (-np.inf, -1, False)],
)
def test_only_the_usual_request_is_answered_at_once(embedding, excluded, is_usual):
    search = make(unit_vectors(100, 16, 3), 5, 2)
    queries = np.full((2, 16), [[1.0], [embedding]], np.float32)
    left_out = tf.constant([[-1, -1], [-1, excluded]])
    parameters = SearchParameters(10, 20, None)
    scores, rows, complete = search.search_usual(
        tf.constant(queries), 10, left_out, None, parameters
    )
    assert complete.numpy() == is_usual
    assert (rows.numpy() >= 0).all() == np.isfinite(scores).all() == is_usual


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
    with pytest.raises(tf.errors.InvalidArgumentError, match="excluded rows are"):
        search._look_at(queries, 1, 1, tf.fill([3, 1], -1))
    whole = {name: getattr(search, name) for name in ("rows", "leaves", "centroid_codes")}
    for name, variable in whole.items():
        setattr(search, name, tf.Variable(variable[:-1]))
        with pytest.raises(tf.errors.InvalidArgumentError, match="do not fit together"):
            search.look_at(queries, 1, 1)
        setattr(search, name, tf.Variable(tf.cast(variable, tf.int64)))
        with pytest.raises(tf.errors.InvalidArgumentError, match="not those of an index"):
            search.look_at(queries, 1, 1)
        setattr(search, name, variable)


@pytest.mark.parametrize("fused", [False, True])
def test_a_bundle_has_it_where_it_is_wanted(tmp_path, fused):
    written = fakes.write_fake_bundle(tmp_path / "shop", "ivf", fused_ops=fused)
    missing = ("Twotower>LeafSearch",) if fused else ()
    assert check_bundle(written.directory, "stock") == missing


def test_the_cpp_loader_gives_the_same_ids(tmp_path):
    written = fakes.write_fake_bundle(tmp_path / "shop", "ivf", fused_ops=True)
    asked = {**RAW, "exclude_ids": np.array([[b"c03"], [b""]], object)}
    (answer,) = loader.answer_in_cpp(
        written.directory, [("serving_default", asked)], [library.find()]
    )
    wanted = load_bundle(written.directory).call("serving_default", asked)
    assert answer["candidate_ids"].tolist() == wanted["candidate_ids"].tolist()
