"""Stage `export` with a pre-ranker: what is served is what the evaluation measures."""

import shutil

import numpy as np
import pytest

from pipelines.stages import export, up_to_date
from pipelines.stages.sequence import STAGES
from serving.bundle.loading import load_bundle
from serving.bundle.query import ask
from serving.bundle.server_ops import check_bundle
from serving.bundle.versions import list_versions
from tests.fixtures.tiny_model import tiny_context
from tests.fixtures.tiny_pre_ranker import PRE_RANKING, WITH_BM25, write_tiny_pre_ranker
from tests.integration.conftest import CASCADE_EXPORT
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.errors import BundleError, StaleArtifact
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer, rank_cascade
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def context(cascade_context):
    return cascade_context


@pytest.fixture(scope="module")
def bundle(context):
    return load_bundle(context.layout.bundle / "tiny")


def test_the_served_order_is_that_of_the_evaluation(context, bundle):
    layout, spec = context.layout, context.spec
    inputs = load_inputs(layout, spec, with_pre_ranker=True)
    scorer = EmbeddingScorer(inputs.test.embeddings, inputs.corpus.vectors)
    offline = rank_cascade(scorer, inputs.test, inputs.eligible, inputs.second_stage, 10)
    corpus = load_corpus(layout.preprocessed, spec)
    queries = load_query_set(layout.preprocessed, "test", spec, corpus)
    width = 1 + max(len(rows) for rows in queries.seen)
    exclude = np.full((len(queries), width), b"", object)
    for row, seen in enumerate(queries.seen):
        exclude[row, 1 : 1 + len(seen)] = corpus.ids[seen]
    served = bundle.ask("serving_default", {**queries.inputs, "exclude_ids": exclude})
    assert inputs.eligible.all()
    rows = corpus.row_of(served["candidate_ids"].ravel()).reshape(-1, 10)
    np.testing.assert_array_equal(rows, offline.ranked)
    pool = np.sort(offline.ranked, axis=1)
    again = bundle.ask("pre_ranking", {**queries.inputs, "candidate_ids": corpus.ids[pool]})
    order = np.argsort(-again["scores"], axis=1, kind="stable")
    np.testing.assert_array_equal(np.take_along_axis(pool, order, axis=1), offline.ranked)


def test_the_pre_ranker_is_a_parent(context, bundle):
    fingerprint = read_manifest(context.layout.pre_ranker, "pre_ranker").fingerprint
    assert bundle.manifest.parents["pre_ranker"] == fingerprint
    stage = next(stage for stage in STAGES if stage.name == "export")
    assert not up_to_date.check(context, stage.kind).reason
    without = tiny_context(context.layout.root, export=CASCADE_EXPORT)
    assert up_to_date.check(without, stage.kind).reason


def test_a_stock_server_loads_the_whole_cascade(bundle):
    assert check_bundle(bundle.directory, "stock") == ()
    assert set(bundle.model.signatures) == {
        "serving_default",
        "candidate_generation",
        "pre_ranking",
        "query_embedding",
        "candidate_embedding",
        "serving_examples",
    }


def test_a_person_restricts_an_answer(context, bundle):
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    topic = next(value for value in corpus.raw["topics"].ravel() if value).decode()
    found = ask(bundle, {"user_id": "user_03"}, deny=[f"topics={topic}"])
    assert found.candidate_ids
    rows = corpus.row_of(found.candidate_ids)
    assert not (corpus.raw["topics"][rows] == topic.encode()).any()


@pytest.mark.slow  # a second export; that other lists are noticed is a quick test of their own
def test_a_pre_ranker_that_was_changed_in_the_graph_is_not_published(context, monkeypatch):
    """The heads of the graph belong to other candidates than those of the artifact."""
    from serving.graph import cascade as cascade_module
    from serving.graph.pre_ranking import PreRanking

    class Turned(PreRanking):
        def __call__(self, raw, rows, retrieval_scores):
            return super().__call__(raw, (rows + 1) % 40, retrieval_scores)

    monkeypatch.setattr(cascade_module, "PreRanking", Turned)
    before = list_versions(context.layout.bundle / "tiny")
    with pytest.raises(BundleError, match="answers differ from those of index and pre_ranker"):
        export.run(context)
    assert list_versions(context.layout.bundle / "tiny") == before


@pytest.mark.parametrize("foreign", ["index", "embeddings", "pre_ranker"])
def test_parts_of_another_model_are_not_built(context, tmp_path, foreign):
    """Everything of this run, but one artifact of a run whose model has another fingerprint."""
    layout = context.layout
    mixed = tiny_context(tmp_path / "run", pre_ranking=WITH_BM25, export=CASCADE_EXPORT)
    for kind in ("preprocessed", "model", "embeddings", "index", "pre_ranker"):
        shutil.copytree(layout.root / kind, mixed.layout.root / kind)
    path = mixed.layout.root / foreign / "manifest.json"
    parent = "embeddings" if foreign == "index" else "model"
    made_from = read_manifest(layout.root / parent, parent).fingerprint
    path.write_text(path.read_text().replace(made_from, "f" * 16))
    message = rf"{foreign}: was made from '{parent}' {'f' * 16}, .* by {made_from}"
    with pytest.raises(StaleArtifact, match=message):
        export.run(mixed)
    assert not mixed.layout.bundle.exists()


def test_a_pre_ranker_of_another_corpus_is_not_built(context, tmp_path):
    layout = context.layout
    mixed = tiny_context(tmp_path / "run", pre_ranking=PRE_RANKING, export=CASCADE_EXPORT)
    for kind in ("preprocessed", "model", "embeddings", "index"):
        shutil.copytree(layout.root / kind, mixed.layout.root / kind)
    write_tiny_pre_ranker(mixed)
    path = mixed.layout.pre_ranker
    for array in path.rglob("candidate_*.npy"):
        np.save(array, np.load(array)[1:])
    manifest = read_manifest(path, "pre_ranker")
    kept = manifest.model_copy(
        update={
            "files": {
                name: entry for name, entry in manifest.files.items() if not name.endswith(".npy")
            }
        }
    )
    (path / "manifest.json").write_text(kept.model_dump_json())
    with pytest.raises(BundleError, match="pre-ranker has 39 candidates, the index 40"):
        export.run(mixed)
    assert not list_versions(mixed.layout.bundle / "tiny")
