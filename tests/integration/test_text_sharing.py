"""Texts that both towers share or keep apart, from an untrained model to a refreshed bundle."""

import csv

import numpy as np
import pytest

from pipelines.progress import SilentReporter
from pipelines.stages import build_index, embed, export, refresh
from serving.bundle.loading import load_bundle
from serving.bundle.server_ops import check_bundle
from tests.contracts.tower_contract import tensors
from tests.fixtures.asking import answers
from tests.fixtures.tiny import write_tiny_tables
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.towers.storage import load_towers

pytestmark = pytest.mark.integration
K = 10
EXPORT = {"k": K, "allowed_batch_sizes": [1]}


def expected_lists(context, queries, corpus):
    """Ids and scores by exact search with the saved towers, in eager mode."""
    towers = load_towers(context.layout.model)
    vectors = towers.candidate(tensors(corpus)).numpy()
    scores = towers.query(tensors(queries)).numpy() @ vectors.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    return best, np.take_along_axis(scores, best, axis=1)


@pytest.mark.parametrize(
    "sharing", ["siamese", pytest.param("projection", marks=pytest.mark.slow(reason="a twin"))]
)
def test_shared_texts_are_served_and_refreshed(tmp_path, sharing):
    model = {**tiny_context(tmp_path).config.model.model_dump(), "text_sharing": sharing}
    context = tiny_context(tmp_path / "run", model=model, export=EXPORT)
    write_tiny_model(context)
    for stage in (embed, build_index, export):
        stage.run(context)
    bundle = context.layout.bundle / "tiny"
    assert check_bundle(bundle, "stock") == ()
    corpus = load_corpus(context.layout.preprocessed, context.spec)
    queries = load_query_set(context.layout.preprocessed, "test", context.spec, corpus).inputs
    found = answers(load_bundle(bundle), "serving_default", queries)
    before, scores = expected_lists(context, queries, corpus.raw)
    np.testing.assert_array_equal(found["candidate_ids"], corpus.ids.astype(bytes)[before])
    np.testing.assert_allclose(found["scores"], scores, atol=1e-5)

    write_tiny_tables(tmp_path)
    with (tmp_path / "tiny" / "items.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    other = {**rows[3], "title": "Guitar Riot Garage", "description": "electric, loud"}
    table = tmp_path / "changed.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(other))
        writer.writeheader()
        writer.writerow(other)
    refresh.run(bundle, table, None, replace=False, reporter=SilentReporter())
    texts = {name: corpus.raw[name].astype(object) for name in ("title", "description")}
    row = corpus.ids.tolist().index(other["item"])
    for name, values in texts.items():
        values[row] = other[name].encode()
    raw = {**corpus.raw, **texts}
    best, scores = expected_lists(context, queries, raw)
    found = answers(load_bundle(bundle), "serving_default", queries)
    np.testing.assert_array_equal(found["candidate_ids"], corpus.ids.astype(bytes)[best])
    np.testing.assert_allclose(found["scores"], scores, atol=1e-5)
    assert ((best == row) | (before == row)).any()
