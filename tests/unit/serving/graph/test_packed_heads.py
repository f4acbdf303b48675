"""The fused second stage in the graph: its oracle is the same pre-ranker in core operations."""

import numpy as np
import pytest
import tensorflow as tf

from serving.bundle.loading import load_bundle
from serving.bundle.parity import check_lists
from serving.bundle.server_ops import check_bundle, way_out
from serving.graph.pre_ranking import PreRanking
from serving.ops import library
from tests.integration.cpp import loader
from tests.reference.search import LOWEST
from tests.unit.serving import fakes
from tests.unit.serving.bundle.test_cascade_bundle import RAW
from tests.unit.serving.fake_pre_ranker import fake_pre_ranker
from tests.unit.serving.graph.test_cascade import ATTRIBUTES
from tests.unit.serving.graph.test_pre_ranking import raw
from tfrs_twotower.errors import UnsupportedEnvironment

pytestmark = pytest.mark.usefixtures("second_stage")


def lists():
    """Seven queries, one without a number; lists with gaps, and one retrieval score that is NaN."""
    random = np.random.default_rng(3)
    numbers = [3.0, 8.0, np.nan, 11.0, 0.0, 24.0, 5.0]
    recent = [["c04", "c09"], [], ["c03"], ["c01", "c01", "c20"]]
    queries = {**raw(numbers, recent), "color": tf.constant(["red", "hat", *[""] * 5])}
    rows = np.stack([random.permutation(25)[:15] for _ in numbers]).astype(np.int32)
    scores = random.normal(size=rows.shape).astype(np.float32)
    rows[0, :4], scores[0, :4] = -1, LOWEST
    rows[4], scores[5, 2] = -1, np.nan
    return queries, tf.constant(rows), tf.constant(scores)


@pytest.mark.parametrize("closed_forms", [{}, {"linear": False}, {"lexical": True}], ids=str)
@pytest.mark.parametrize("storage", ["float32", "int8"])
@pytest.mark.parametrize("k", [5, 20])
def test_it_is_the_pre_ranker_in_core_operations(storage, closed_forms, k):
    pre_ranker = fake_pre_ranker(**closed_forms)
    plain, fused = (PreRanking(pre_ranker, storage, fused=chosen) for chosen in (False, True))
    wanted_scores, wanted_rows = plain.best(*lists(), k)
    scores, rows = tf.function(fused.best, autograph=False)(*lists(), k)
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5, atol=1e-5)
    # The signature that scores listed candidates reads the same bytes in core operations.
    np.testing.assert_allclose(fused(*lists()), plain(*lists()), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return fakes.write_fake_bundle(
        tmp_path_factory.mktemp("bundles") / "shop",
        pre_ranker=fake_pre_ranker(lexical=True),
        attributes=ATTRIBUTES,
        candidate_heads="int8",
        fused_ops=True,
    )


def test_its_bundle_gives_the_lists_of_the_evaluation(written):
    loaded = load_bundle(written.directory)
    release = fakes.fake_release(pre_ranker=fake_pre_ranker(lexical=True), candidate_heads="int8")
    assert check_lists(loaded, RAW, release) <= 1e-5


def test_every_server_is_told_what_it_lacks(written):
    for server in ("stock", "scann", "tensorflow"):
        missing = check_bundle(written.directory, server)
        assert missing == ("Twotower>SecondStage",)
        assert "export.fused_ops: false" in way_out(missing, server)


def test_a_process_without_the_library_is_told_to_build_it(written, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.load.cache_clear()
    with pytest.raises(UnsupportedEnvironment, match="Run `twotower build-ops`"):
        load_bundle(written.directory)
    library.load.cache_clear()


def test_the_cpp_loader_gives_the_same_ids(written):
    loaded = load_bundle(written.directory)
    lists = {"exclude_ids": [[b"c03"], [b""]], "allow": [[b""]] * 2, "deny": [[b""]] * 2}
    asked = {**RAW, **{name: np.array(values, object) for name, values in lists.items()}}
    (answer,) = loader.answer_in_cpp(
        written.directory, [("serving_default", asked)], [library.find()]
    )
    wanted = loaded.call("serving_default", asked)
    assert answer["candidate_ids"].tolist() == wanted["candidate_ids"].tolist()
    np.testing.assert_allclose(answer["scores"], wanted["scores"], atol=1e-5)
