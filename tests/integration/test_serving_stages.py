"""Embed, build-index and export on the planted data: every feature kind, from rows to answers."""

import json
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipelines.stages import build_index, embed, export
from pipelines.stages.context import open_parent
from pipelines.stages.releases import read_release
from serving.bundle.loading import load_bundle
from serving.bundle.measures import bundle_agreement
from serving.bundle.query import ask
from serving.bundle.server_ops import check_bundle
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tfrs_twotower.artifacts import Lineage, read_manifest
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.data.stored_embeddings import (
    read_candidate_embeddings,
    read_query_embeddings,
)
from tfrs_twotower.errors import BundleError, EmbeddingError, IndexQualityError, StaleArtifact
from tfrs_twotower.index.quality import read_quality
from tfrs_twotower.index.storage import load_index
from tfrs_twotower.towers.storage import load_towers

pytestmark = pytest.mark.integration
WIDTH = 12
"""Of the sixteen entries of the towers' vectors."""
SECTIONS = {
    "index": {"kind": "scann", "k": 10, "num_reordering_candidates": 40},
    "embed": {"batch_size": 7, "num_shards": 3, "width": WIDTH},
    "export": {
        "k": 10,
        "max_excluded": 20,
        "allowed_batch_sizes": [1, 4],
        "keep_versions": 2,
        "bundles": [{"name": "fast"}, {"name": "stock", "index": "brute_force"}],
    },
}


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    pytest.importorskip("scann")
    context = tiny_context(tmp_path_factory.mktemp("run"), **SECTIONS)
    write_tiny_model(context)
    embed.run(context)
    build_index.run(context)
    export.run(context)
    return context


@pytest.fixture(scope="module")
def corpus(context):
    return load_corpus(context.layout.preprocessed, context.spec)


@pytest.fixture(scope="module")
def queries(context, corpus):
    return load_query_set(context.layout.preprocessed, "test", context.spec, corpus)


@pytest.fixture(scope="module")
def bundles(context):
    return {name: load_bundle(context.layout.bundle / name) for name in ("fast", "stock")}


def test_embeddings_are_sorted_unit_vectors_in_shards(context, corpus, queries):
    directory = context.layout.embeddings
    names = sorted(path.name for path in directory.glob("*.parquet"))
    assert len(names) == 3 * 3 + 1, "three shards of each kind, and the perturbed queries"
    for path in directory.glob("*.parquet"):
        ids = pq.read_table(path)[0].to_pylist()
        assert ids == sorted(ids, key=str.encode)
    candidates = read_candidate_embeddings(directory)
    np.testing.assert_array_equal(candidates.ids, corpus.ids)
    np.testing.assert_array_equal(candidates.titles, corpus.titles)
    np.testing.assert_allclose(np.linalg.norm(candidates.vectors, axis=1), 1.0, rtol=1e-5)
    raw = {name: tf.constant(values) for name, values in corpus.raw.items()}
    whole = load_towers(context.layout.model).candidate(raw).numpy()[:, :WIDTH]
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(candidates.vectors, expected, atol=1e-6)
    assert read_query_embeddings(directory, "test").ids.tolist() == queries.ids.tolist()


def test_the_same_run_gives_the_same_embeddings_and_index(context, tmp_path):
    again = tiny_context(tmp_path, **SECTIONS)
    write_tiny_model(again)
    assert (
        embed.run(again).fingerprint
        == read_manifest(context.layout.embeddings, "embeddings").fingerprint
    )
    assert (
        build_index.run(again).fingerprint
        == read_manifest(context.layout.index, "index").fingerprint
    )


def test_bad_embeddings_stop_the_stage_and_are_named(tmp_path):
    context = tiny_context(tmp_path)
    write_tiny_model(context, broken_brands=True)
    with pytest.raises(
        EmbeddingError,
        match=r"found 40 embeddings .*'item_00', .*'item_09', \.\.\.\. Every",
    ):
        embed.run(context)
    assert not context.layout.embeddings.exists()


def test_an_outdated_parent_is_refused(tmp_path):
    context = tiny_context(tmp_path)
    write_tiny_model(context)
    embed.run(context)
    write_tiny_model(context, broken_brands=True)
    with pytest.raises(StaleArtifact, match=r"embeddings: was made from 'model'"):
        build_index.run(context)


def test_an_index_below_its_target_is_not_written(context, tmp_path):
    del tmp_path
    strict = tiny_context(
        context.layout.root,
        index={
            "kind": "scann",
            "k": 10,
            "target_overlap": 1.0,
            "num_leaves": 20,
            "num_reordering_candidates": 10,
        },
    )
    before = read_manifest(context.layout.index, "index")
    with pytest.raises(IndexQualityError, match=r"the target is 1\.0"):
        build_index.run(strict)
    assert read_manifest(context.layout.index, "index") == before


def test_quality_says_how_the_index_was_chosen(context):
    quality = read_quality(context.layout.index)
    assert (quality.kind, quality.k, quality.target) == ("scann", 10, 0.98)
    assert quality.overlap >= 0.98
    assert quality.num_queries == 60
    assert {"overlap", "p50_ms", "num_leaves_to_search"} <= set(quality.sweep[0])
    open_parent(context, "index")


def test_index_rows_are_corpus_rows(context, corpus):
    index = load_index(context.layout.index)
    np.testing.assert_array_equal(index.corpus.ids, corpus.ids)


@pytest.mark.parametrize("name", ["fast", "stock"])
def test_the_server_gives_the_offline_vectors(context, corpus, queries, bundles, name):
    bundle, directory = bundles[name], context.layout.embeddings
    for signature, raw, expected in (
        ("query_embedding", queries.inputs, read_query_embeddings(directory, "test")),
        ("candidate_embedding", corpus.raw, read_candidate_embeddings(directory)),
    ):
        found = bundle.call(signature, raw)["embedding"]
        np.testing.assert_allclose(found, expected.vectors, atol=1e-5)
        one = bundle.call(signature, {key: values[:1] for key, values in raw.items()})
        np.testing.assert_allclose(one["embedding"], expected.vectors[:1], atol=1e-5)


@pytest.mark.parametrize("name", ["fast", "stock"])
def test_a_list_is_the_exact_list_without_what_was_seen(context, queries, bundles, name):
    index = load_index(context.layout.index)
    vectors = read_query_embeddings(context.layout.embeddings, "test").vectors
    width = 1 + max(len(rows) for rows in queries.seen)
    exclude = np.full((len(queries), width), b"", object)
    for row, seen in enumerate(queries.seen):
        exclude[row, 1 : 1 + len(seen)] = index.corpus.ids[seen]
    found = bundles[name].call("serving_default", {**queries.inputs, "exclude_ids": exclude})
    scores = vectors @ index.vectors.T
    for row, seen in enumerate(queries.seen):
        scores[row, seen] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    np.testing.assert_allclose(
        found["scores"], np.take_along_axis(scores, order, axis=1), atol=1e-5
    )
    for ids, banned in zip(found["candidate_ids"], exclude, strict=True):
        assert len(set(ids)) == 10
        assert not set(ids) & set(banned)


def test_the_two_bundles_agree_and_only_one_needs_scann(context, queries):
    fast, stock = (context.layout.bundle / name for name in ("fast", "stock"))
    assert bundle_agreement(fast, stock, queries.inputs) >= 0.98
    assert check_bundle(stock) == ()
    assert "Scann>ScannSearchBatched" in check_bundle(fast)


def test_an_answer_in_words(context):
    found = ask(
        load_bundle(context.layout.bundle / "stock"),
        {"user_id": "user_03", "history": "item_01|item_02", "age": "33", "event_time": "1"},
        k=4,
        exclude=["item_05"],
    )
    assert len(found.candidate_ids) == 4
    assert "item_05" not in found.candidate_ids
    assert all(found.titles)


def test_exporting_again_adds_a_version(context):
    first = read_manifest(context.layout.bundle, "bundle")
    second = export.run(context)
    for name in ("fast", "stock"):
        assert second.details["versions"][name] > first.details["versions"][name]
        assert (context.layout.bundle / name / str(first.details["versions"][name])).is_dir()
    assert second.parents == first.parents
    open_parent(context, "bundle")


def test_foreign_embeddings_are_not_exported(context, tmp_path):
    other = tiny_context(tmp_path, index={"kind": "brute_force", "k": 10})
    write_tiny_model(other)
    embed.run(other)
    build_index.run(other)
    path = next(other.layout.embeddings.glob("candidates-00000*"))
    table = pq.read_table(path)
    turned = table["embedding"].take([*range(1, len(table)), 0])
    pq.write_table(table.set_column(2, "embedding", turned), path)
    manifest_path = other.layout.embeddings / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    manifest["files"].pop(path.name)
    manifest_path.write_text(json.dumps(manifest))
    build_index.run(other)
    with pytest.raises(BundleError, match="candidate_embedding differs from the offline"):
        export.run(other)
    assert not list(other.layout.bundle.glob("tiny/[0-9]*"))


def test_an_index_of_another_corpus_is_not_exported(context, corpus):
    fewer = corpus.take(np.arange(39))
    with pytest.raises(BundleError, match="has 40 other candidates than the corpus, which has 39"):
        read_release(context, fewer, Lineage("spec", "settings", {}))


def test_bundle_names_must_differ(context):
    twice = tiny_context(context.layout.root, export={"bundles": [{"name": "a"}, {"name": "a"}]})
    with pytest.raises(BundleError, match=r"export\.bundles: found the names a, a"):
        export.run(twice)


def test_sixty_four_queries_at_once_are_quick(queries, bundles):
    raw = {name: np.concatenate([values, values])[:64] for name, values in queries.inputs.items()}
    inputs = {**raw, "exclude_ids": np.full((64, 1), b"", object)}
    bundles["stock"].call("serving_default", inputs)
    started = time.monotonic()
    bundles["stock"].call("serving_default", inputs)
    assert time.monotonic() - started < 5.0
