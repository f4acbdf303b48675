"""Bundles of models that are not of this package: exported, checked, asked, served."""

import json

import numpy as np
import pytest
import tensorflow as tf

from serving import Client, export_bundle, load_bundle
from serving.bundle.rollback import roll_back
from serving.bundle.server_files import BATCHING_NAME
from serving.bundle.versions import list_versions, served_version
from serving.server.local_server import ServerOptions, running
from serving.server.models import from_directory
from tests.fixtures.strangers import DIM, ITEMS, MODELS, bare_vectors, corpus_of, normal
from tests.reference.search import search
from tests.unit.pipelines.cli.command import twotower
from tfrs_twotower.config import IndexConfig
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import BundleError, IndexQualityError
from tfrs_twotower.index.build import build_index
from tfrs_twotower.index.storage import Index

pytestmark = [pytest.mark.local_server, pytest.mark.integration]
K = 7


@pytest.fixture(scope="module", params=list(MODELS))
def strange(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def written(strange, tmp_path_factory):
    return export_bundle(
        strange.towers,
        strange.corpus,
        tmp_path_factory.mktemp("bundles"),
        name="shop",
        k=K,
        allowed_batch_sizes=(1, 16),
    )


@pytest.fixture(scope="module")
def bundle(written):
    return written.directory.parent


def exclusions(size):
    random = np.random.default_rng(1)
    sizes = random.integers(0, 39, size)
    return [list(random.choice([*ITEMS, "unknown"], one, replace=False)) for one in sizes]


def check(strange, answers, excluded):
    """Ids and scores of an independent search, by inner product, without what is excluded."""
    vectors, ids = strange.corpus.vectors, strange.corpus.ids.tolist()
    for query, own, answer in zip(strange.vectors, excluded, answers, strict=True):
        expected, scores = search(query, vectors, ids, own, K)
        there = [name for name in expected if name]
        assert answer.candidate_ids == there
        np.testing.assert_allclose(answer.scores, scores[: len(there)], atol=1e-6)


def test_the_loaded_bundle_gives_the_oracles_lists(strange, written):
    loaded = load_bundle(str(written.directory.parent))
    raw = {
        name: tf.convert_to_tensor(
            [(row + [""] * 3)[:3] for row in values] if name == "tags" else values, spec.dtype
        )
        for name, spec in loaded.inputs("query_embedding").items()
        for values in [strange.queries[name]]
    }
    found = loaded.call("query_embedding", raw)
    np.testing.assert_allclose(found["embedding"], strange.vectors, atol=1e-6)
    assert set(loaded.model.signatures) - {"candidate_embedding"} == {
        "serving_default",
        "candidate_generation",
        "query_embedding",
        "serving_examples",
    }
    assert loaded.titles() == {name: f"Title {name}" for name in ITEMS}


def test_a_served_bundle_answers_and_does_so_after_a_restart(strange, bundle):
    size = len(strange.vectors)
    excluded = exclusions(size)
    for _ in range(2):
        options = ServerOptions(from_directory(bundle), grpc_port=0, rest_port=0, batching=True)
        with running(options) as server:
            for target in (
                f"grpc://127.0.0.1:{server.grpc_port}/shop",
                f"http://127.0.0.1:{server.rest_port}/shop",
            ):
                with Client(target, timeout_s=60) as client:
                    check(strange, client.recommend(strange.queries), [[]] * size)
                    answers = client.recommend(strange.queries, exclude_ids=excluded)
                    check(strange, answers, excluded)


def test_preflight_and_query_in_words(strange, bundle, monkeypatch, capsys):
    def call(*arguments):
        return twotower(monkeypatch, capsys, *arguments)

    assert call("preflight", bundle, "--server", "stock").code == 0
    settings = [f"--set={name}={value}" for name, value in strange.settings.items()]
    asked = call("query", bundle, *settings, "--k", 3, "--exclude", ITEMS[4], "--json")
    answer = json.loads(asked.out)
    query = strange.vectors[0]
    expected, scores = search(
        query, strange.corpus.vectors, strange.corpus.ids.tolist(), [ITEMS[4]], 3
    )
    assert answer["candidate_ids"] == expected
    np.testing.assert_allclose(answer["scores"], scores, atol=1e-6)
    refused = call("refresh", bundle, "--withdraw", __file__)
    assert refused.code == 1
    assert "holds no refresh/, so its candidates cannot change" in refused.err


def test_examples_carry_the_same_inputs(strange, written):
    loaded = load_bundle(written.directory)
    examples = []
    for query in range(len(strange.vectors)):
        feature = {name: as_feature(values[query]) for name, values in strange.queries.items()}
        feature["exclude_ids"] = as_feature([ITEMS[3]])
        features = tf.train.Features(feature=feature)
        examples.append(tf.train.Example(features=features).SerializeToString())
    found = loaded.call("serving_examples", {"examples": examples})
    for query, ids in zip(strange.vectors, found["candidate_ids"], strict=True):
        expected = search(
            query, strange.corpus.vectors, strange.corpus.ids.tolist(), [ITEMS[3]], K
        )[0]
        assert [name.decode() for name in ids] == expected
    # Of an empty Example nothing is known: text is "", a whole number -1, another number NaN.
    blank = loaded.call("serving_examples", {"examples": [b""]})
    if strange.towers is None:
        assert blank["candidate_ids"].tolist() == [[b""] * K]


def as_feature(value):
    values = value if isinstance(value, list) else [value]
    if isinstance(values[0] if values else "", str):
        kept = [name.encode() for name in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=kept))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def test_versions_follow_each_other_and_go_back(tmp_path):
    strange = bare_vectors()
    judged = QuerySet.of(
        strange.corpus,
        {"embedding": strange.vectors},
        [[ITEMS[0], ITEMS[1]]] * 15,
        [[ITEMS[2]]] * 15,
    )

    def export(corpus):
        return export_bundle(None, corpus, tmp_path, name="shop", k=K, judged=judged)

    first = export(strange.corpus)
    measures = first.manifest.details["measures"]
    lists = [
        search(query, strange.corpus.vectors, strange.corpus.ids.tolist(), [ITEMS[2]], K)[0]
        for query in strange.vectors
    ]
    recall = sum(len({ITEMS[0], ITEMS[1]} & set(ids)) for ids in lists) / 2 / 15
    assert measures[f"recall@{K}"] == pytest.approx(recall, abs=1e-6)
    assert measures[f"overlap@{K}"] == 1.0
    second = export(strange.corpus)
    assert second.manifest.parents == first.manifest.parents
    assert (second.directory / BATCHING_NAME).is_file()
    worse = corpus_of(normal(8, len(ITEMS), DIM))
    worse.vectors[[0, 1]] = 0.0
    with pytest.raises(BundleError, match=rf"refused by the release gate: .*recall@{K} is"):
        export(worse)
    assert list_versions(tmp_path / "shop") == [first.version, second.version]
    assert roll_back(tmp_path / "shop") == first.version == served_version(tmp_path / "shop")


@pytest.mark.parametrize("kind", ["ivf", "scann"])
def test_an_approximate_index_is_measured_and_exported(kind, tmp_path):
    if kind == "scann":
        pytest.importorskip("scann")
    strange = bare_vectors()
    config = IndexConfig(kind=kind, k=K, target_overlap=0.6)
    written = export_bundle(
        None, strange.corpus, tmp_path, name="shop", k=K, index=config, queries=strange.vectors
    )
    assert written.manifest.details["index"] == kind
    assert written.manifest.details["measures"][f"overlap@{K}"] >= 0.6
    built = build_index(strange.corpus.vectors, strange.vectors, config)
    again = export_bundle(
        None, Index.of(strange.corpus, built), tmp_path, name="shop", k=K, queries=strange.vectors
    )
    assert again.manifest.details["measures"] == written.manifest.details["measures"]
    with pytest.raises(BundleError, match="is measured on real queries, and there are none"):
        export_bundle(None, strange.corpus, tmp_path, name="shop", index=config)
    impossible = IndexConfig(
        kind=kind,
        k=K,
        target_overlap=1.0,
        num_leaves=8,
        num_leaves_to_search=1,
        num_reordering_candidates=1,
    )
    with pytest.raises(IndexQualityError, match="the target is 1"):
        export_bundle(
            None, strange.corpus, tmp_path, name="new", index=impossible, queries=strange.vectors
        )
    assert list_versions(tmp_path / "new") == []
