"""An index that searches words, from its stage to every kind of answer, and through a refresh."""

import csv
import json
import shutil

import numpy as np
import pytest

from pipelines.progress import SilentReporter
from pipelines.stages import build_index, embed, evaluate, export, refresh
from serving.bundle import parts
from serving.bundle.loading import excluded, load_bundle, load_model
from serving.bundle.server_ops import check_bundle
from serving.client.exact_answers import ExactAnswers
from tests.fixtures.tiny import write_tiny_tables
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tests.integration.cpp.loader import answer_in_cpp
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.closed_form.bm25 import build_postings, words_of
from tfrs_twotower.data.loading import joined_texts, load_corpus
from tfrs_twotower.data.stored_postings import load_lexical, save_lexical
from tfrs_twotower.errors import BundleError
from tfrs_twotower.evaluation.corpus_ranking import ranked_chunks
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs
from tfrs_twotower.evaluation.text_retrieval import retrieval_of
from tfrs_twotower.index.quality import read_quality

pytestmark = pytest.mark.integration
K = 10
EXPORT = {"k": K, "max_excluded": 20, "allowed_batch_sizes": [1], "restricts": ["topics"]}
EVALUATE = {"ks": [K], "num_bootstrap": 20, "num_example_queries": 1, "baselines": ["bm25"]}
TOLERANCE = 1e-5
TWIN = pytest.mark.slow(reason="a second run; the hybrid has the search of words in it")


@pytest.fixture(scope="module", params=[pytest.param("lexical", marks=TWIN), "hybrid"])
def context(request, tmp_path_factory):
    words = {"k1": 0.9, "question_weight": 0.25, "feedback": True}
    index = {"kind": request.param, "k": K, "lexical": words}
    root = tmp_path_factory.mktemp(request.param)
    context = tiny_context(root, index=index, export=EXPORT, evaluate=EVALUATE)
    write_tiny_model(context)
    for stage in (embed, build_index, export, evaluate):
        stage.run(context)
    return context


@pytest.fixture(scope="module")
def bundle(context):
    return load_bundle(context.layout.bundle / "tiny")


@pytest.fixture(scope="module")
def inputs(context):
    return load_inputs(context.layout, context.spec)


def test_the_index_says_how_it_was_made(context):
    quality, kind = read_quality(context.layout.index), context.config.index.kind
    assert quality.kind == kind
    assert read_manifest(context.layout.index, "index").details["kind"] == kind
    assert quality.parameters["vectors"] == "brute_force"
    assert quality.parameters["k1"] == 0.9
    assert 0 < quality.parameters["feedback"] < 1
    assert len(quality.parameters["feedback_on_questions"]) == 6
    assert ("dense_weight" in quality.parameters) == (kind == "hybrid")
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    lexical = load_lexical(context.layout.index, len(corpus), "")
    assert lexical.inputs == ("bio",)
    assert lexical.feedback == quality.parameters["feedback"]
    texts = joined_texts(corpus.raw, context.spec.candidate.features)
    without = build_postings(texts, k1=0.9, b=0.75)
    assert lexical.postings.counts.sum() > without.counts.sum(), "training questions count too"


def test_served_answers_are_those_of_the_evaluation(context, bundle, inputs):
    """Ids equal, scores to 1e-5; in TensorFlow's C++ loader too."""
    queries = inputs.test
    ((_, rows, scores),) = ranked_chunks(retrieval_of(inputs), queries, inputs.eligible, K)
    ids = [[inputs.corpus.ids[row].encode() if row >= 0 else b"" for row in line] for line in rows]
    seen = [inputs.corpus.ids[queries.seen[row]].tolist() for row in range(len(queries))]
    none = np.full((len(queries), 1), b"", object)
    left_out = excluded(seen)
    left_out[:] = [[id_.encode() for id_ in line] for line in left_out]
    asked = {**queries.inputs, "exclude_ids": left_out, "allow": none, "deny": none}
    requests = [(name, asked) for name in ("serving_default", "candidate_generation")]
    here = [bundle.call(*request) for request in requests]
    for answer in (*here, *answer_in_cpp(bundle.directory, requests)):
        assert answer["candidate_ids"].tolist() == ids
        np.testing.assert_allclose(
            np.where(rows >= 0, answer["scores"], 0), np.where(rows >= 0, scores, 0), atol=TOLERANCE
        )
    document = json.loads((context.layout.report / "evaluation.json").read_text())
    found = document["systems"]["retrieval"]["metrics"]["recall@10"]["mean"]
    relevant = [set(queries.truth.relevant[row].tolist()) for row in range(len(queries))]
    recalls = [len(own & set(line.tolist())) / len(own) for own, line in zip(relevant, rows)]  # noqa: B905
    assert found == pytest.approx(np.mean(recalls))
    assert "BM25" in document["protocol"]["retrieval"]


def test_restricts_hold(bundle, inputs):
    query = {name: values[:4] for name, values in inputs.test.inputs.items()}
    before = bundle.ask("candidate_generation", query)
    answer = bundle.ask("candidate_generation", {**query, "allow": [["topics=jazz"]] * 4})
    jazz = {id_.encode() for id_, own in zip(*_topics(inputs), strict=True) if b"jazz" in own}
    listed = [[id_ for id_ in line if id_] for line in answer["candidate_ids"].tolist()]
    assert any(listed)
    for line in listed:
        assert set(line) <= jazz
    for row, line in enumerate(listed):
        both = [id_ for id_ in before["candidate_ids"][row] if id_ in line]
        assert line[: len(both)] == both


def _topics(inputs):
    return inputs.corpus.ids, inputs.corpus.raw["topics"].tolist()


def test_a_stock_server_can_load_it(bundle):
    assert check_bundle(bundle.directory, "stock") == ()


def test_it_is_measured_against_itself(bundle, inputs):
    details = bundle.manifest.details
    assert details["index"] == load_lexical(bundle.directory / "refresh", 40, "").kind
    assert details["measures"]["overlap@10"] == 1.0
    exact = ExactAnswers.of(bundle.directory)
    raw = {name: values[:3] for name, values in inputs.test.inputs.items()}
    rows = np.full((3, K), -1)
    assert exact.overlaps(raw, rows).min() < 1.0


def test_postings_of_another_corpus_beside_the_model_are_noticed(bundle, tmp_path):
    version = shutil.copytree(bundle.directory, tmp_path / "tiny" / bundle.directory.name)
    lexical = load_lexical(version / "refresh", 40, "")
    texts = [f"{lexical.postings.words[row % 9]} other" for row in range(40)]
    save_lexical(lexical.with_postings(build_postings(texts, k1=9, b=0.1)), version / "refresh")
    model = load_model(version)
    with pytest.raises(BundleError, match="the index was built from other vectors or postings"):
        parts.check_parts(model, bundle.manifest, int(version.name))


def test_a_refresh_finds_new_candidates_by_their_words(context, tmp_path):
    copied = shutil.copytree(context.layout.bundle / "tiny", tmp_path / "tiny")
    write_tiny_tables(tmp_path)
    with (tmp_path / "tiny" / "items.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    new = {**rows[0], "item": "item_99", "title": "Zebras", "description": "of the savannah"}
    changed = {**rows[1], "description": "a savannah without giraffes"}
    path = tmp_path / "new.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows([new, changed])
    withdrawn = tmp_path / "gone.txt"
    withdrawn.write_text(f"{rows[2]['item']}\n")
    refresh.run(copied, path, withdrawn, replace=False, reporter=SilentReporter())
    bundle = load_bundle(copied)
    blank = bundle.blank("candidate_generation")

    def asked(text):
        answer = bundle.call("candidate_generation", {**blank, "bio": np.array([text], object)})
        return [id_.decode() for id_ in answer["candidate_ids"][0] if id_]

    assert asked("zebra")[0] == "item_99"
    assert {"item_99", changed["item"]} == set(asked("savannahs")[:2])
    # As an index that is built anew from the texts, apart from the appended questions.
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    texts = dict(
        zip(corpus.ids, joined_texts(corpus.raw, context.spec.candidate.features), strict=True)
    )
    del texts[rows[2]["item"]]
    texts["item_99"], texts[changed["item"]] = "Zebras of the savannah", "x"
    refreshed = load_lexical(bundle.directory / "refresh", len(texts), "").postings
    frequency = refreshed.frequencies[refreshed.terms_of(words_of("savannah"))]
    assert frequency.tolist() == [2]
    assert refreshed.num_candidates == len(texts)
    gone = set(build_postings(texts.values(), k1=1, b=1).words)
    assert {"zebra", "zebras"} <= gone & set(refreshed.words)
