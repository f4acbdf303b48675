"""A cross-encoder through the stages: it teaches, and is a system of the report; none is served."""

import json

import numpy as np
import pytest
import tensorflow as tf

from pipelines.stages import embed, evaluate, fingerprints, mine, up_to_date
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tests.fixtures.tiny_pre_ranker import PRE_RANKING, write_tiny_pre_ranker
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.artifacts.layout import CROSS_ENCODER, EVALUATION, REPORT_PAGE
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.towers.cross_encoder import load_cross_encoders

pytestmark = pytest.mark.integration
SMALL = {"dim": 8, "num_heads": 2, "feed_forward_dim": 8, "num_layers": 1, "negatives": 3}
TEACHER = {"depth": 8, "teacher": "cross_encoder", "cross_encoder": {**SMALL, "epochs": 1}}
SECTION = {**PRE_RANKING, "mining": TEACHER, "list_terms": {"margin_mse": 0.1}}


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    context = tiny_context(tmp_path_factory.mktemp("run"), pre_ranking=SECTION)
    write_tiny_model(context)
    embed.run(context)
    mine.run(context)
    write_tiny_pre_ranker(context)
    evaluate.run(context)
    return context


@pytest.fixture(scope="module")
def document(context):
    return json.loads((context.layout.report / EVALUATION).read_text())


def test_the_report_has_the_ranking_of_both_texts(context, document):
    """The oracle scores the first twelve of exact retrieval, one query at a time."""
    layout, spec = context.layout, context.spec
    inputs = load_inputs(layout, spec, with_pre_ranker=True)
    corpus = load_corpus(layout.preprocessed, spec)
    texts, models = load_cross_encoders(layout.negatives / CROSS_ENCODER, spec)
    assert len(models) == 2
    queries = texts.read("query", load_query_set(layout.preprocessed, "test", spec, corpus).inputs)
    candidates = texts.read("candidate", corpus.raw)
    retrieval = EmbeddingScorer(inputs.test.embeddings, inputs.corpus.vectors)
    ranked = []
    for query in range(len(inputs.test)):
        scores = retrieval(np.array([query]))[0]
        scores[inputs.test.seen[query]] = -np.inf
        pool = np.argsort(-scores, kind="stable")[:12]
        pairs = np.repeat(queries[[query]], len(pool), axis=0), candidates[pool]
        again = np.mean([model(*map(tf.constant, pairs)).numpy() for model in models], axis=0)
        order = np.lexsort((pool, -again))
        ranked.append(pool[order][:10])
    ndcg = per_query("ndcg@10", judge(np.array(ranked), inputs.test.truth)).mean()
    system = document["systems"]["cross_encoder"]
    assert system["metrics"]["ndcg@10"]["mean"] == pytest.approx(ndcg, abs=1e-6)
    assert ndcg != document["systems"]["retrieval"]["metrics"]["ndcg@10"]["mean"]


def test_it_is_compared_and_is_no_baseline(context, document):
    pairs = {(entry["a"], entry["b"]) for entry in document["comparisons"]}
    assert ("cascade", "cross_encoder") in pairs
    assert "cross_encoder" not in document["verdict"]["against"]
    assert document["protocol"]["cross_encoder"].startswith("the first 12 of exact retrieval, ")
    page = (context.layout.report / REPORT_PAGE).read_text()
    assert ">cross-encoder<" in page
    assert "both texts read together; never served" in page


def test_the_report_is_made_again_with_the_cross_encoder(context):
    parents = read_manifest(context.layout.report, "report").parents
    negatives = read_manifest(context.layout.negatives, "negatives").fingerprint
    assert parents["negatives"] == negatives
    assert not up_to_date.check(context, "report").reason


@pytest.mark.parametrize(
    ("teacher", "settings", "again"),
    [
        ("cross_encoder", {**SMALL, "epochs": 2}, ["mine"]),
        ("ease", {**SMALL, "epochs": 1}, ["mine", "train_pre_ranker", "evaluate"]),
    ],
)
def test_what_its_settings_make_outdated(context, teacher, settings, again):
    mining = {"depth": 8, "teacher": teacher, "cross_encoder": settings}
    other = tiny_context(context.layout.root, pre_ranking={**SECTION, "mining": mining})
    stages = ("mine", "train_pre_ranker", "evaluate")
    changed = [
        name
        for name in stages
        if getattr(fingerprints, name)(other) != getattr(fingerprints, name)(context)
    ]
    assert changed == again


def test_settings_that_nobody_reads_make_nothing_outdated(context):
    def mined_with(**cross_encoder):
        mining = {"depth": 8, "teacher": "bm25", "cross_encoder": cross_encoder}
        return fingerprints.mine(
            tiny_context(context.layout.root, pre_ranking={**SECTION, "mining": mining})
        )

    assert mined_with() == mined_with(dim=8)


def test_without_trained_members_there_is_none(context):
    alone = {**SECTION, "models": [], "bm25": {}}
    other = tiny_context(context.layout.root, pre_ranking=alone)
    assert fingerprints.has_cross_encoder(context.config)
    assert not fingerprints.has_cross_encoder(other.config)
