"""A cascade behind a hybrid, with BM25 as the only member: from the stages to the answers."""

import json

import numpy as np
import pytest

from pipelines.stages import build_index, embed, evaluate, export, mine, train_pre_ranker
from pipelines.stages.releases import read_release
from serving.bundle.loading import excluded, load_bundle
from serving.bundle.server_ops import check_bundle
from serving.graph.cascade import Cascade
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tests.integration.cpp.loader import answer_in_cpp
from tfrs_twotower.artifacts import Lineage, read_manifest, sha256_file
from tfrs_twotower.data.loading import load_corpus
from tfrs_twotower.evaluation.corpus_ranking import rank_cascade
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs
from tfrs_twotower.evaluation.text_retrieval import retrieval_of
from tfrs_twotower.index.lexical import HybridSearch
from tfrs_twotower.towers.pre_ranker import load_pre_ranker

pytestmark = pytest.mark.integration
K = 10
SECTIONS = {
    "index": {"kind": "hybrid", "k": K},
    "pre_ranking": {
        "models": [],
        "bm25": {},
        "num_candidates": 14,
        "popularity_days": [None],
        "mining": {"depth": 5},
        "list_size": 5,
        "early_stopping": {"metric": "ndcg@10"},
    },
    "export": {"k": K, "allowed_batch_sizes": [1], "restricts": ["topics"]},
    "evaluate": {"ks": [K], "num_bootstrap": 20, "num_example_queries": 1, "baselines": ["bm25"]},
}
WEIGHTS = (1.0, 0.4, -0.3, 0.05)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    context = tiny_context(tmp_path_factory.mktemp("hybrid"), **SECTIONS)
    write_tiny_model(context)
    for stage in (embed, build_index, train_pre_ranker):
        stage.run(context)
    return context


@pytest.fixture(scope="module")
def bundle(context):
    """Served with weights of its own, because little is to be learned of untrained towers."""
    path = context.layout.pre_ranker / "combination.json"
    written = json.loads(path.read_text())
    assert written["features"] == ["retrieval", "bm25_log", "bm25_share", "log_count"]
    manifest = json.loads((context.layout.pre_ranker / "manifest.json").read_text())
    path.write_text(json.dumps({**written, "weights": WEIGHTS}))
    entry = manifest["files"]["combination.json"]
    entry |= {"sha256": sha256_file(path), "size_bytes": path.stat().st_size}
    (context.layout.pre_ranker / "manifest.json").write_text(json.dumps(manifest))
    export.run(context)
    evaluate.run(context)
    return load_bundle(context.layout.bundle / "tiny")


def test_the_pre_ranker_is_made_from_the_index(context):
    parents = read_manifest(context.layout.pre_ranker, "pre_ranker").parents
    index = read_manifest(context.layout.index, "index")
    assert parents["index"] == index.fingerprint
    dense = tiny_context(context.layout.root, **{**SECTIONS, "index": {"k": K}})
    for stage in (mine, train_pre_ranker):
        assert stage.config_fingerprint(context) != stage.config_fingerprint(dense)


def test_validation_pools_are_those_of_the_hybrid(context):
    """The pool's metric in the order of retrieval is that of the hybrid, and not of the vectors."""
    validation = read_manifest(context.layout.pre_ranker, "pre_ranker").details["validation"]
    curve = json.loads((context.layout.index / "quality.json").read_text())["parameters"]
    reached = {one["weight"]: one["ndcg@10"] for one in curve["weights_on_validation"]}
    chosen = reached[curve["dense_weight"]]
    assert validation["retrieval ndcg@10"] == pytest.approx(chosen, abs=1e-6)
    assert abs(reached[1.0] - chosen) > 1e-3


def test_mined_lists_are_those_of_the_hybrid(context):
    """The stage runs, although no member learns from it."""
    manifest = mine.run(context)
    assert set(manifest.parents) == {"preprocessed", "model", "index"}
    assert manifest.counts["depth"] == 5


@pytest.mark.slow(reason="an export; its parts have quick tests")
def test_served_answers_are_those_of_the_evaluation(context, bundle):
    """Ids equal, scores to 1e-5; in the C++ loader and `pre_ranking` too."""
    inputs = load_inputs(context.layout, context.spec, with_pre_ranker=True)
    queries, stage = inputs.test, inputs.second_stage
    offline = rank_cascade(retrieval_of(inputs), queries, inputs.eligible, stage, K)
    ids = [
        [inputs.corpus.ids[row].encode() if row >= 0 else b"" for row in line]
        for line in offline.ranked
    ]
    none = np.full((len(queries), 1), b"", object)
    left_out = excluded([inputs.corpus.ids[own].tolist() for own in queries.seen])
    left_out[:] = [[id_.encode() for id_ in line] for line in left_out]
    asked = {**queries.inputs, "exclude_ids": left_out, "allow": none, "deny": none}
    listed = {**queries.inputs, "candidate_ids": np.array(ids, object)}
    requests = [("serving_default", asked), ("pre_ranking", listed)]
    here = [bundle.call(*request) for request in requests]
    there = answer_in_cpp(bundle.directory, requests)
    for whole, again in (here, there):
        assert whole["candidate_ids"].tolist() == ids
        np.testing.assert_allclose(again["scores"], whole["scores"], atol=1e-5)
    assert not np.array_equal(offline.ranked, offline.retrieved)
    document = json.loads((context.layout.report / "evaluation.json").read_text())
    assert document["funnel"]["pool"]["weights"]["bm25_share"] == WEIGHTS[2]
    assert check_bundle(bundle.directory, "stock") == ()


def test_postings_that_both_stages_have_are_kept_once(context):
    """k1 and b are the same in both, and no training question is appended."""
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    release = read_release(context, corpus, Lineage("", "", {}))
    cascade = Cascade(release)
    search = cascade.candidate_generation.searcher
    assert isinstance(search, HybridSearch)
    assert cascade.pre_ranking.lexical._scores is search.words
    other = load_pre_ranker(context.layout.pre_ranker).lexical.postings
    assert other is not release.index.lexical.postings
