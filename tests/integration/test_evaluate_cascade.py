"""Stage `evaluate` with a pre-ranker: from artifacts on disk to the report."""

import json

import numpy as np
import pytest
import tensorflow as tf

from pipelines.stages import embed, evaluate
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tests.fixtures.tiny_pre_ranker import PRE_RANKING, write_tiny_pre_ranker
from tests.reference.cascade import cascade as oracle
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.artifacts.layout import EVALUATION, REPORT_PAGE
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact, StaleArtifact
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer, rank_cascade
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs
from tfrs_twotower.evaluation.report.report_files import PER_QUERY, read_per_query
from tfrs_twotower.towers.pre_ranker import load_pre_ranker

pytestmark = pytest.mark.integration
LOG = '{"step": 1, "loss": 3.0, "retrieval": 2.0, "list_softmax": 1.0}\n'


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    context = tiny_context(tmp_path_factory.mktemp("run"), pre_ranking=PRE_RANKING)
    write_tiny_model(context)
    embed.run(context)
    return context


@pytest.fixture(scope="module")
def report(context):
    write_tiny_pre_ranker(context, log=LOG)
    evaluate.run(context)
    return context.layout.report


def test_a_missing_pre_ranker_is_named(tmp_path):
    context = tiny_context(tmp_path, pre_ranking=PRE_RANKING)
    write_tiny_model(context)
    embed.run(context)
    with pytest.raises(MissingArtifact, match=r"pre_ranker.*train-pre-ranker"):
        evaluate.run(context)


def test_the_report_is_made_from_the_pre_ranker(context, report):
    document = json.loads((report / EVALUATION).read_text())
    funnel = document["funnel"]
    assert funnel["pool"]["num_candidates"] == 12
    assert funnel["pool"]["weights"] == {
        "retrieval": 0.5, "interaction_0": 1.0, "interaction_1": 0.7, "log_count": -0.1,
    }  # fmt: skip
    assert funnel["cascade"] != funnel["retrieval_exact"]
    parents = read_manifest(report, "report").parents
    assert (
        parents["pre_ranker"] == read_manifest(context.layout.pre_ranker, "pre_ranker").fingerprint
    )
    values = read_per_query(report / PER_QUERY).values
    assert not np.array_equal(values["cascade"], values["retrieval"])
    page = (report / REPORT_PAGE).read_text()
    assert ">Pre-ranking</h2>" in page
    assert ">list softmax<" in page


def test_the_cascade_is_the_oracles(context, report):
    layout, spec = context.layout, context.spec
    inputs = load_inputs(layout, spec, with_pre_ranker=True)
    scorer = EmbeddingScorer(inputs.test.embeddings, inputs.corpus.vectors)
    cascade = rank_cascade(scorer, inputs.test, inputs.eligible, inputs.second_stage, 10)
    made = load_pre_ranker(layout.pre_ranker)
    corpus = load_corpus(layout.preprocessed, spec)
    raw = load_query_set(layout.preprocessed, "test", spec, corpus).inputs
    heads = made.query_heads({name: tf.constant(values) for name, values in raw.items()})
    heads = [of_member.numpy() for of_member in heads]
    # A new scorer scales by 1 and adds 0.
    for query in range(len(inputs.test)):
        pool, ranked = oracle(
            inputs.test.embeddings[query],
            inputs.corpus.vectors,
            [of_member[query] for of_member in heads],
            [member.candidate_heads.numpy() for member in made.members],
            made.candidate_signals.numpy(),
            weights=made.combination.weights,
            left_out={
                *inputs.test.seen[query].tolist(),
                *np.flatnonzero(~inputs.eligible).tolist(),
            },
            size=12,
            k=10,
        )
        relevant = set(inputs.test.truth.relevant[query].tolist())
        assert cascade.pool_recall[query] == len(relevant & set(pool)) / len(relevant)
        assert cascade.ranked[query].tolist() == ranked


def test_without_the_section_the_pre_ranker_is_not_looked_at(context, report):
    alone = tiny_context(context.layout.root)
    assert evaluate.config_fingerprint(alone) != evaluate.config_fingerprint(context)
    assert load_inputs(context.layout, context.spec).second_stage is None


def test_a_pre_ranker_of_another_corpus_is_refused(context, report):
    artifact = context.layout.pre_ranker
    kept = {path: path.read_bytes() for path in artifact.rglob("candidate_*.npy")}
    assert len(kept) == 3
    for path in kept:
        np.save(path, np.load(path)[1:])
    try:
        with pytest.raises(CorruptArtifact, match=r"is for \d+ candidates, the corpus has"):
            load_inputs(context.layout, context.spec, with_pre_ranker=True)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def test_a_pre_ranker_of_an_earlier_model_is_refused(context, report):
    model = context.layout.model
    manifest = model / "manifest.json"
    kept = manifest.read_text()
    manifest.write_text(
        kept.replace('"config_fingerprint": "untrained"', '"config_fingerprint": "x"')
    )
    try:
        with pytest.raises(StaleArtifact, match="which has been replaced"):
            evaluate.run(context)
    finally:
        manifest.write_text(kept)
