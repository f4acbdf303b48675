"""Stage `evaluate` on the planted data: from artifacts on disk to the report."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.stages import build_index, embed, evaluate
from pipelines.stages.context import record_duration
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.artifacts.layout import STATISTICS, TRAINING_LOG
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.data.loading import load_corpus
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.evaluation.evaluated_data import LogLine
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs, load_training_facts
from tfrs_twotower.specs import SPLITS

pytestmark = pytest.mark.integration
PROFILE = {"item_knn", "ease", "rdlae", "recent_ease", "ials"}
SYSTEMS = {"retrieval", "cascade", "popularity", "recent_popularity"} | PROFILE


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    context = tiny_context(tmp_path_factory.mktemp("run"))
    write_tiny_model(context)
    embed.run(context)
    build_index.run(context)
    record_duration(context.layout.root, "train", 61.2)
    record_duration(context.layout.root, "evaluate", 99.0)
    evaluate.run(context)
    return context


@pytest.fixture(scope="module")
def inputs(context):
    return load_inputs(context.layout, context.spec)


@pytest.fixture(scope="module")
def document(context):
    return json.loads((context.layout.report / "evaluation.json").read_text())


def test_every_system_is_there_text_baselines_too(document):
    """Both sides have text and the queries have a past: all baselines are possible."""
    assert set(document["systems"]) == SYSTEMS | {"bm25", "hybrid"}
    assert document["protocol"]["left_out"] == {}
    assert document["leakage_check"]["verdict"] == "clean"
    assert {100, 200, 400, 800} <= set(document["protocol"]["baselines"]["ease"]["chosen_from"])
    assert document["protocol"]["sampled_from"] is None
    assert document["funnel"]["unranked"] is None
    weight = document["protocol"]["baselines"]["hybrid"]["retrieval_weight"]
    assert 0.0 <= weight <= 1.0


def test_planted_clusters_are_found_by_neighbours_and_not_by_popularity(document):
    recall = {
        name: system["metrics"]["recall@10"]["mean"] for name, system in document["systems"].items()
    }
    assert recall["item_knn"] > 0.6
    assert recall["popularity"] < 0.5
    assert recall["item_knn"] > recall["popularity"] + 0.2


def test_the_index_and_earlier_stages_are_in_the_report(context, document):
    assert document["funnel"]["ann_overlap@10"] == 1.0
    assert document["timings"] == {"train": 61.2}
    page = (context.layout.report / "index.html").read_text()
    assert "1 min 01 s" in page
    assert "The index is brute force" in page
    assert set(read_manifest(context.layout.report, "report").parents) == {
        "preprocessed", "embeddings", "index",
    }  # fmt: skip


def test_the_same_run_gives_the_same_document(context, document):
    evaluate.run(context)
    again = json.loads((context.layout.report / "evaluation.json").read_text())
    assert again == document


def test_what_is_loaded_is_what_was_written(context, inputs):
    source = context.layout.preprocessed
    corpus = load_corpus(source, context.spec)
    assert list(inputs.corpus.ids) == corpus.ids.tolist()
    written = [
        (row["query_id"], row["candidate_id"], row["timestamp"], row["split"])
        for row in rows_of(source, "interactions-*.parquet")
    ]
    log = inputs.log
    columns = (log.query, log.candidate, log.timestamp, log.split)
    assert [
        (log.query_ids[query], inputs.corpus.ids[row], time, SPLITS[split])
        for query, row, time, split in zip(*columns, strict=True)
    ] == written
    frequencies = {
        row["candidate_id"]: row["count"] for row in rows_of(source, "frequencies-*.parquet")
    }
    assert inputs.counts.tolist() == [frequencies[name] for name in inputs.corpus.ids]
    np.testing.assert_allclose(np.linalg.norm(inputs.test.embeddings, axis=1), 1.0, rtol=1e-5)
    assert len(inputs.test.texts) == len(inputs.test)
    assert len(inputs.corpus.texts) == len(inputs.corpus)
    assert inputs.training_log == []


def test_a_sample_of_the_queries_is_the_same_for_every_run(context, inputs):
    seven, every = (EvaluateConfig(max_queries=most) for most in (7, len(inputs.test)))
    few = load_inputs(context.layout, context.spec, config=seven)
    again = load_inputs(context.layout, context.spec, config=seven)
    assert (len(few.test), few.all_test_queries) == (7, len(inputs.test))
    assert few.test.ids.tolist() == again.test.ids.tolist()
    assert set(few.test.ids) < set(inputs.test.ids)
    places = np.searchsorted(inputs.test.ids, few.test.ids)
    np.testing.assert_array_equal(few.test.embeddings, inputs.test.embeddings[places])
    np.testing.assert_array_equal(few.test.seen.values, inputs.test.take(places).seen.values)
    assert few.test.texts == [inputs.test.texts[place] for place in places]
    assert few.test.ids.tolist() == inputs.test.sample(7, seed=0).ids.tolist()
    many = load_inputs(context.layout, context.spec, config=every)
    assert many.all_test_queries is None


def test_the_stage_evaluates_a_sample_and_says_of_how_many(context, inputs, document):
    settings = context.config.evaluate.model_copy(update={"max_queries": 7})
    config = context.config.model_copy(update={"evaluate": settings})
    evaluate.run(replace(context, config=config))
    protocol = json.loads((context.layout.report / "evaluation.json").read_text())["protocol"]
    assert (protocol["test_queries"], protocol["sampled_from"]) == (7, len(inputs.test))
    assert document["protocol"].get("sampled_from") is None
    evaluate.run(context)  # other tests read the report


def test_candidates_that_are_not_known_are_served_and_told(context):
    """One definition: a candidate with a training event of any label is ranked."""
    split = context.spec.split.model_copy(update={"known_candidates_only": True})
    inputs = load_inputs(context.layout, context.spec.model_copy(update={"split": split}))
    log = inputs.log
    trained = np.unique(log.candidate[log.split == SPLITS.index("train")])
    np.testing.assert_array_equal(np.flatnonzero(inputs.eligible), trained)


def test_training_facts(context):
    facts = load_training_facts(context.layout.preprocessed, context.spec)
    assert facts.query_texts is None  # the spec has a history: the check is of pairs, not texts
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    assert facts.candidate_vocabulary
    assert set(facts.candidate_vocabulary) <= set(corpus.ids)
    assert all(name.startswith("user_") for name in facts.query_vocabulary)


def test_texts_of_training_queries_without_a_history(context):
    side = context.spec.query
    features = tuple(feature for feature in side.features if feature.kind != "history")
    spec = context.spec.model_copy(update={"query": side.model_copy(update={"features": features})})
    texts = load_training_facts(context.layout.preprocessed, spec).query_texts
    manifest = read_manifest(context.layout.preprocessed, "preprocessed")
    assert len(texts) == manifest.counts["train_examples"]
    assert all(isinstance(text, str) for text in texts)


def test_a_training_log_is_read_and_a_broken_one_is_named(context):
    path = context.layout.model / TRAINING_LOG
    path.write_text('{"step": 1, "loss": 2.5}\n')
    log = load_inputs(context.layout, context.spec).training_log
    assert log == [LogLine(step=1, losses={"loss": 2.5})]
    try:
        for broken in ('{"step": 1, "lo', '{"loss": 2.5}', "[1]"):
            path.write_text(broken)
            with pytest.raises(CorruptArtifact, match=f"{TRAINING_LOG}: a line is not JSON with"):
                load_inputs(context.layout, context.spec)
    finally:
        path.unlink()


@pytest.mark.parametrize("broken", ['{"window"', '{"window": {"end": 1}}', '{"window": 1}', "[]"])
def test_broken_statistics_are_named(context, broken):
    path = context.layout.preprocessed / STATISTICS
    kept = path.read_text()
    path.write_text(broken)
    try:
        with pytest.raises(CorruptArtifact, match=f"{STATISTICS}: cannot be read"):
            load_inputs(context.layout, context.spec)
    finally:
        path.write_text(kept)


def test_without_embeddings_the_missing_files_are_named(tmp_path):
    bare = tiny_context(tmp_path)
    write_tiny_model(bare)
    with pytest.raises(MissingArtifact, match=r"no finished .embeddings. artifact.*twotower embed"):
        load_inputs(bare.layout, bare.spec)


def rows_of(directory, glob):
    return [row for path in sorted(directory.glob(glob)) for row in pq.read_table(path).to_pylist()]
