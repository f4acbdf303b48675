"""Shards of a bundle: what each holds, and what their merged answers are."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from serving.bundle.loading import load_bundle
from serving.bundle.measures import measure_model, measure_retrieval
from serving.bundle.refresh_files import RefreshFiles
from serving.bundle.shards_together import ShardModels, ShardReleases, compare_with_unsharded
from serving.bundle.similar import similar_candidates
from serving.bundle.versions import list_versions, merge_lists, rows_of_shards, shard_name
from serving.client.sharded_client import ShardedClient
from serving.graph.release import Probe
from serving.refresh.changes import encode_candidates
from serving.refresh.refresh import refresh_bundles
from serving.refresh.refreshed_release import Refreshable, RefreshRequest, refreshed_release
from serving.server.local_server import ServerOptions, running
from serving.server.models import from_directory
from tests.fixtures.asking import answers
from tests.fixtures.small_release import (
    NUM_CANDIDATES,
    POOL,
    K,
    publish_release,
    small_corpus,
    small_queries,
    small_release,
)
from tests.reference.search import passes, search
from tests.reference.shards import pools_of_shards
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import BundleError

pytestmark = pytest.mark.local_server

NUM_SHARDS = 2
VERSION = 2_000_000_000


def released_shard(whole, shard):
    """What an export makes of one shard."""
    rows = rows_of_shards(whole.corpus.ids, NUM_SHARDS)[shard]
    export = whole.settings.export.model_copy(update={"shards": NUM_SHARDS})
    whole = replace(whole, settings=whole.settings.model_copy(update={"export": export}))
    probe = whole.refresh.probe
    probed = np.isin(probe.rows, rows)
    raw = {name: values[probed] for name, values in probe.raw.items()}
    return whole.shard(shard, rows, Probe(np.searchsorted(rows, probe.rows[probed]), raw))


def publish_shards(root, whole):
    paths = [root / shard_name("small", shard, NUM_SHARDS) for shard in range(NUM_SHARDS)]
    for shard, path in enumerate(paths):
        publish_release(path, released_shard(whole, shard), VERSION)
    return paths


@pytest.fixture(scope="module")
def paths(whole_release, tmp_path_factory):
    return publish_shards(tmp_path_factory.mktemp("shards"), whole_release)


@pytest.fixture(scope="module")
def shards(paths):
    return [load_bundle(path) for path in paths]


def merged(shards, signature, k=K, **lists):
    outputs = [answers(shard, signature, **lists) for shard in shards]
    ids, scores = ([output[name] for output in outputs] for name in ("candidate_ids", "scores"))
    return merge_lists(ids, scores, k)


def random_requests(size, seed):
    """Queries with some exclusions and restricts."""
    random = np.random.default_rng(seed)

    def draw(values, most):
        return [list(random.choice(values, random.integers(0, most))) for _ in range(size)]

    ids = np.array([f"c{number:02d}".encode() for number in range(NUM_CANDIDATES)], object)
    tokens = np.array([b"topics=jazz", b"topics=soul", b"topics=punk", b"topics=none"], object)
    return {
        "queries": small_queries(size, seed),
        "exclude": draw(ids, 15),
        "allow": draw(tokens, 3),
        "deny": draw(tokens, 2),
    }


def test_every_shard_is_a_bundle_of_its_own_candidates(whole, shards):
    parts = [list(shard.titles()) for shard in shards]
    assert sorted(name for part in parts for name in part) == list(whole.titles())
    for shard, part in enumerate(parts):
        assert {shard_of(name, NUM_SHARDS) for name in part} == {shard}
    versions = {shard.manifest.details["model_version"] for shard in shards}
    assert len(versions) == 1


def test_candidate_generation_is_that_of_the_whole_corpus(whole, shards):
    requests = random_requests(200, 0)
    expected = answers(whole, "candidate_generation", **requests)
    ids, scores = merged(shards, "candidate_generation", **requests)
    np.testing.assert_array_equal(ids, expected["candidate_ids"])
    np.testing.assert_allclose(scores, expected["scores"], atol=1e-6)


def final_scores(whole, queries):
    """Retrieval and final scores of every candidate, as the unsharded bundle gives them."""
    size = len(queries["history"])
    ids = np.array([[name.encode() for name in whole.titles()]] * size, object)
    final = whole.call("pre_ranking", {**queries, "candidate_ids": ids})["scores"]
    embeddings = whole.call("query_embedding", queries)["embedding"]
    return embeddings, final


def test_the_cascade_is_that_of_the_pools_of_all_shards(whole, shards):
    queries = small_queries(40, 1)
    embeddings, final = final_scores(whole, queries)
    corpus = RefreshFiles(whole.directory).corpus()
    ids, scores = merged(shards, "serving_default", queries=queries)
    for row in range(40):
        expected = pools_of_shards(
            embeddings[row],
            corpus.vectors,
            final[row],
            [shard_of(name, NUM_SHARDS) for name in corpus.ids],
            pool=POOL,
            k=K,
        )
        assert [name.decode() for name in ids[row]] == [corpus.ids[place] for place in expected]
        np.testing.assert_allclose(scores[row], final[row, expected], atol=1e-5)


def test_no_final_score_is_lower_than_the_unsharded_one(whole, shards):
    requests = random_requests(100, 2)
    expected = answers(whole, "serving_default", **requests)["scores"]
    _, scores = merged(shards, "serving_default", **requests)
    assert (scores >= expected - 1e-5).all()


def test_the_cascade_is_equal_where_the_pool_is_the_corpus(whole, shards):
    # Of at most nine candidates that are left, both re-score every one.
    everything = [f"c{number:02d}".encode() for number in range(NUM_CANDIDATES)]
    random = np.random.default_rng(3)
    exclude = [list(random.permutation(everything)[: NUM_CANDIDATES - POOL]) for _ in range(50)]
    queries = small_queries(50, 3)
    expected = answers(whole, "serving_default", queries, exclude)
    ids, scores = merged(shards, "serving_default", queries=queries, exclude=exclude)
    np.testing.assert_array_equal(ids, expected["candidate_ids"])
    np.testing.assert_allclose(scores, expected["scores"], atol=1e-5)


def judged(whole_release, size, seed):
    random, ids = np.random.default_rng(seed), whole_release.corpus.ids
    relevant = [list(random.choice(ids, 3, replace=False)) for _ in range(size)]
    seen = [list(set(random.choice(ids, 4)) - set(own)) for own in relevant]
    corpus = whole_release.corpus
    return relevant, seen, QuerySet.of(corpus, small_queries(size, seed), relevant, seen)


def test_shards_are_measured_by_the_lists_that_a_client_merges(whole, whole_release, shards):
    relevant, seen, queries = judged(whole_release, 70, 6)
    lists, _ = merged(shards, "serving_default", queries=queries.inputs, exclude=seen)
    answered = [[name.decode() for name in row if name] for row in lists]
    hits = [len(set(a) & set(own)) / 3 for a, own in zip(answered, relevant, strict=True)]
    models = ShardModels(shards)
    measured = measure_model(models, queries, whole_release.corpus).values
    assert measured[f"recall@{K}"] == round(float(np.mean(hits)), 6)
    assert measured[f"overlap@{K}"] == 1.0
    share = len({name for row in answered for name in row}) / NUM_CANDIDATES
    assert measured[f"coverage@{K}"] == round(share, 6)
    expected = answers(whole, "serving_default", queries.inputs, seen)["candidate_ids"]
    overlap = [len(set(row) & set(own)) / K for row, own in zip(lists, expected, strict=True)]
    unsharded = measure_model(whole, queries, whole_release.corpus).values
    compared = compare_with_unsharded(models, whole_release, queries, judge=True)
    assert compared == {
        "k": K,
        "overlap": round(float(np.mean(overlap)), 6),
        "equal_lists": sum((a == b).all() for a, b in zip(lists, expected, strict=True)),
        "queries": 70,
        "unsharded_recall": unsharded[f"recall@{K}"],
    }
    unjudged = compare_with_unsharded(models, whole_release, queries, judge=False)
    assert compared.keys() - unjudged.keys() == {"unsharded_recall"}
    # The pools of both shards together re-score more than one pool does.
    assert np.mean(overlap) < 1.0


def test_retrieval_of_shards_is_measured_together(whole_release):
    releases = [released_shard(whole_release, shard) for shard in range(NUM_SHARDS)]
    together = ShardReleases(releases)
    assert measure_retrieval(together) == measure_retrieval(whole_release)
    np.testing.assert_array_equal(together.corpus.vectors, whole_release.corpus.vectors)


def test_a_refresh_of_shards_is_one_release(paths, tmp_path):
    before = [list_versions(path) for path in paths]
    outcomes = refresh_bundles(paths, RefreshRequest(small_corpus(), withdrawn=["x1", "x2"]))
    assert [outcome.written for outcome in outcomes] == [None, None]
    assert sorted(id_ for one in outcomes for id_ in one.changes.unknown) == ["x1", "x2"]
    # Neither shard loses too many by itself in every case: the sum counts.
    few = RefreshRequest(small_corpus(range(18)), replace=True)
    with pytest.raises(BundleError, match=r"it has 18 candidates, 25\.0% fewer than the 24 of"):
        refresh_bundles(paths, few)
    assert [list_versions(path) for path in paths] == before
    # A publication that was killed between two shards.
    torn = [tmp_path / path.name for path in paths]
    for path, copy in zip(paths, torn, strict=True):
        shutil.copytree(path, copy)
    (torn[0] / str(VERSION)).rename(torn[0] / str(VERSION + 1))
    with pytest.raises(BundleError, match="the shards serve different versions"):
        refresh_bundles(torn, RefreshRequest(small_corpus(range(25))))


def test_pre_ranking_over_the_shards(whole, shards):
    queries = small_queries(10, 4)
    _, expected = final_scores(whole, queries)
    ids = np.array([[name.encode() for name in whole.titles()]] * 10, object)
    scores = [
        shard.call("pre_ranking", {**queries, "candidate_ids": ids})["scores"] for shard in shards
    ]
    np.testing.assert_allclose(np.max(scores, axis=0), expected, atol=1e-5)


def test_a_sharded_client_gives_the_lists_of_the_whole_bundle(whole, paths):
    # Column 0 of every list is the padding, which the client adds itself.
    requests = random_requests(8, 5)
    expected = answers(whole, "candidate_generation", **requests)
    queries = {"history": requests["queries"]["history"].tolist()}
    lists = {
        name: [[value.decode() for value in row] for row in requests[name]]
        for name in ("exclude", "allow", "deny")
    }
    source = from_directory(paths[0].parent)
    options = ServerOptions(source, grpc_port=0, rest_port=0, batching=False)
    with running(options) as server:
        targets = [f"grpc://127.0.0.1:{server.grpc_port}/{path.name}" for path in paths]
        with ShardedClient(targets, k=K, timeout_s=60) as client:
            recommendations = client.recommend(
                queries,
                exclude_ids=lists["exclude"],
                allow=lists["allow"],
                deny=lists["deny"],
                signature="candidate_generation",
            )
    for row, merged_list in enumerate(recommendations):
        ids = [name.decode() for name in expected["candidate_ids"][row] if name]
        assert merged_list.candidate_ids == ids
        np.testing.assert_allclose(
            merged_list.scores, expected["scores"][row][: len(ids)], atol=1e-6
        )


def known_candidates(shards):
    """Vector and topics of each candidate, of the corpora and attributes of all shards."""
    return {
        name: (vector, [topic.decode() for topic in topics])
        for corpus, attributes in shards
        for name, vector, topics in zip(
            corpus.ids, corpus.vectors, attributes.values["topics"], strict=True
        )
    }


def left_out(known, requests, row):
    """Ids that may not be answered to one of the requests."""
    excluded, allow, deny = (
        [value.decode() for value in requests[name][row]] for name in ("exclude", "allow", "deny")
    )
    denied = [n for n, (_, topics) in known.items() if not passes({"topics": topics}, allow, deny)]
    return {*excluded, *denied}


REQUEST = RefreshRequest(small_corpus(range(2, NUM_CANDIDATES + 3), c09=50.0), withdrawn=["c00"])


def test_each_shard_takes_its_own_of_what_a_refresh_is_given(shards):
    plans = [Refreshable.of_version(shard.directory).plan(REQUEST) for shard in shards]
    releases = [refreshed_release(plan, encode_candidates) for plan in plans]
    changes = [plan.changes for plan in plans]
    assert sum(change.num_added for change in changes) == 3
    assert sum(change.num_changed for change in changes) == 1
    assert sum(change.num_withdrawn for change in changes) == 1
    for shard, release in enumerate(releases):
        assert {shard_of(name, NUM_SHARDS) for name in release.corpus.ids} == {shard}
    known = known_candidates((release.corpus, release.attributes) for release in releases)
    assert sorted(known) == [f"c{number:02d}" for number in range(1, NUM_CANDIDATES + 3)]


@pytest.mark.slow  # 20,000 requests and four bundle versions for each kind
@pytest.mark.parametrize("kind", ["brute_force", "scann", "ivf"])
def test_ten_thousand_requests_over_shards_before_and_after_a_refresh(kind, tmp_path):
    whole = replace(small_release(tmp_path, small_corpus(), kind=kind), pre_ranker=None)
    paths = publish_shards(tmp_path, whole)
    for refresh in (False, True):
        if refresh:
            refresh_bundles(paths, REQUEST)
        shards = [load_bundle(path) for path in paths]
        assert len({shard.manifest.details["model_version"] for shard in shards}) == 1
        kept = [RefreshFiles(shard.directory) for shard in shards]
        known = known_candidates((files.corpus(), files.attributes()) for files in kept)
        ids = sorted(known)
        vectors = np.array([known[name][0] for name in ids])
        for seed in range(20):
            requests = random_requests(500, seed)
            queries = shards[0].call("query_embedding", requests["queries"])["embedding"]
            merged_lists = merged(shards, "serving_default", **requests)
            for row in range(500):
                hidden = left_out(known, requests, row)
                expected, scores = search(queries[row], vectors, ids, hidden, K)
                answered = [name.decode() for name in merged_lists[0][row]]
                if kind == "brute_force":
                    assert answered == expected
                    np.testing.assert_allclose(merged_lists[1][row], scores, atol=1e-6)
                listed = [name for name in answered if name]
                assert len(set(listed)) == len(listed) == sum(bool(name) for name in expected)
                assert set(listed) <= known.keys() - hidden


def test_neighbours_over_all_shards_are_those_of_the_whole_corpus(paths, whole_bundle):
    of_shards = similar_candidates(paths[0].parent / "small", "c03", NUM_CANDIDATES - 1)
    of_whole = similar_candidates(whole_bundle.directory, "c03", NUM_CANDIDATES - 1)
    assert of_shards.candidate_ids == of_whole.candidate_ids
    assert of_shards.scores == pytest.approx(of_whole.scores, abs=1e-6)
