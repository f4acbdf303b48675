"""Towers with query slots from tables to answers: trained, embedded, indexed, served, refreshed."""

import csv
import json
from copy import deepcopy

import numpy as np
import pytest

from pipelines.cli.arguments import make_context
from pipelines.progress import SilentReporter
from pipelines.stages import refresh
from pipelines.stages.sequence import STAGES, run_stages
from serving.bundle.loading import excluded, load_bundle
from serving.bundle.server_ops import check_bundle
from tests.fixtures.odd_tables import ITEMS, SPEC, events, items, write_run
from tfrs_twotower.data.loading import load_corpus
from tfrs_twotower.data.stored_embeddings import read_candidate_embeddings
from tfrs_twotower.evaluation.corpus_ranking import ranked_chunks
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs
from tfrs_twotower.evaluation.text_retrieval import retrieval_of
from tfrs_twotower.towers.embedding import embed
from tfrs_twotower.towers.storage import load_towers

pytestmark = pytest.mark.integration
K = 5
QUESTIONS = ("calm guitar", "loud drum", "old flute", "what sings?", "who plays", "a soft song")
TITLES = ("a guitar", "loud drums", "flute of old", "birds sing", "players", "songs", "", "quiet")
WORDS = {"kind": "text", "vocabulary": "words", "vocabulary_size": 64, "encoder": "transformer"}
MODEL = {
    "embedding_dim": 8,
    "transformer": {"num_layers": 2, "num_heads": 2, "feed_forward_dim": 8},
    "query_transformer_layers": 1,
    "query_slots": {"num_slots": 4},
}


def titled(rows):
    return [(item, TITLES[n], *rest) for n, (item, _, *rest) in enumerate(rows)]


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    directory = tmp_path_factory.mktemp("slots")
    spec = deepcopy(SPEC)
    spec["query"]["features"] = [{"name": "words", "column": "user", "max_tokens": 6, **WORDS}]
    spec["candidate"]["features"] = [{"name": "title", "max_tokens": 7, **WORDS}]
    rows = [(QUESTIONS[int(user[1:])], *rest) for user, *rest in events()]
    training = {"batch_size": 16, "epochs": 3, "optimizer": {"learning_rate": 0.02}}
    run = write_run(
        directory,
        rows,
        titled(items()),
        spec,
        model=MODEL,
        training=training,
        index={"kind": "brute_force", "k": K},
    )
    context = make_context(run, directory / "work", ())
    ran = [outcome.name for outcome in run_stages(context, STAGES[:-1])]
    assert ran == ["preprocess", "train", "embed", "build-index", "export"]
    return context


@pytest.fixture(scope="module")
def bundle(context):
    return load_bundle(context.layout.bundle / "odd")


def test_the_reconstruction_is_trained_and_logged(context):
    lines = (context.layout.model / "training_log.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    losses = [line["query_reconstruction"] for line in logged if "query_reconstruction" in line]
    assert losses[-1] < losses[0]


def test_served_answers_are_those_of_the_evaluation(context, bundle):
    inputs = load_inputs(context.layout, context.spec)
    queries = inputs.test
    ((_, rows, scores),) = ranked_chunks(retrieval_of(inputs), queries, inputs.eligible, K)
    seen = [inputs.corpus.ids[queries.seen[row]].tolist() for row in range(len(queries))]
    asked = {**queries.inputs, "exclude_ids": excluded(seen)}
    answer = bundle.call("candidate_generation", asked)
    ids = [[inputs.corpus.ids[row].encode() for row in line] for line in rows]
    assert answer["candidate_ids"].tolist() == ids
    np.testing.assert_allclose(answer["scores"], scores, atol=1e-5)


def test_served_vectors_are_the_stored_ones(context, bundle):
    stored = read_candidate_embeddings(context.layout.embeddings)
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    served = bundle.call("candidate_embedding", corpus.raw)["embedding"]
    np.testing.assert_allclose(served, stored.vectors, atol=1e-5)
    # The candidates' signature has no input of a query.
    assert set(bundle.inputs("candidate_embedding")) == {"title"}


def test_a_stock_server_can_load_it(bundle):
    assert check_bundle(bundle.directory, "stock") == ()


@pytest.mark.slow  # one more export
def test_a_refresh_embeds_new_texts_alike(context, bundle, tmp_path):
    path = tmp_path / "new.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([ITEMS, ("i99", "a calm song", "g0", 1)])
    refresh.run(bundle.directory.parent, path, None, replace=False, reporter=SilentReporter())
    refreshed = load_bundle(bundle.directory.parent)
    towers = load_towers(context.layout.model)
    question = {"words": np.array([b"calm song"], object)}
    (query,) = embed(towers.query, question)
    (new,) = embed(towers.candidate, {"title": np.array(["a calm song"])})
    answer = refreshed.call("candidate_generation", question)
    scores = dict(zip(answer["candidate_ids"][0], answer["scores"][0], strict=True))
    others = read_candidate_embeddings(context.layout.embeddings).vectors @ query
    assert (b"i99" in scores) == (np.sum(others > new @ query) < K)
    embedding = refreshed.call("candidate_embedding", {"title": np.array([b"a calm song"])})
    np.testing.assert_allclose(embedding["embedding"][0], new, atol=1e-5)
    if b"i99" in scores:
        assert scores[b"i99"] == pytest.approx(new @ query, abs=1e-5)
