"""A run with `model.wide`: both fits, the embed stage, an approximate index, and the bundle."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.stages import build_index, embed, export, train
from serving.bundle.loading import load_bundle
from tests.fixtures.asking import answers
from tests.fixtures.tiny import tiny_run_config, write_tiny_preprocessed
from tests.fixtures.tiny_model import tiny_context
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.artifacts.layout import FIRST_FIT_WEIGHTS, WEIGHTS
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.data.first_fit import FirstFitRecall
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.data.stored_embeddings import (
    read_candidate_embeddings,
    read_query_embeddings,
)
from tfrs_twotower.towers.embedding import embed as embed_in_memory
from tfrs_twotower.towers.storage import load_towers, read_weights

pytestmark = [pytest.mark.integration, pytest.mark.slow]
DIM, RANK = 8, 12


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """Towers that have hardly learned anything, so that the wide part is of use."""
    training = tiny_run_config().training.model_dump(mode="json")
    optimizer = {**training["optimizer"], "learning_rate": 1e-5}
    stopping = {**training["early_stopping"], "further_metrics": ["recall@10", "ndcg@5"]}
    context = tiny_context(
        tmp_path_factory.mktemp("wide"),
        model={
            "embedding_dim": DIM,
            "wide": {"rank": RANK, "l2": 4.0, "half_lives": [None], "popularity_days": [None]},
        },
        training={
            **training,
            "epochs": 1,
            "refit": True,
            "optimizer": optimizer,
            "early_stopping": stopping,
        },
        index={"kind": "ivf", "k": 10, "target_overlap": 0.9},
        export={"k": 10, "allowed_batch_sizes": [1], "bundles": [{"name": "tiny"}]},
    )
    write_tiny_preprocessed(context.layout.preprocessed)
    for stage in (train, embed, build_index, export):
        stage.run(context)
    return context


def test_the_manifest_says_what_it_came_to(context):
    facts = read_manifest(context.layout.model, "model").details["wide"]
    assert facts["used"]
    assert facts["dimensions"] == DIM + RANK + 1
    assert facts["recall@10_out_of_fold"] > facts["recall@10_before"]
    # What the first fit is worth is that of the whole, out of fold.
    recall = FirstFitRecall.read(context.layout.model).at(10)[1]
    assert recall == pytest.approx(facts["recall@10_out_of_fold"], abs=1e-6)
    assert 0.0 < facts["ndcg@5_out_of_fold"] < 1.0


def test_a_refit_keeps_the_weights_and_fits_the_tables_on_both_windows(context):
    first, last = (
        read_weights(context.layout.model / name) for name in (FIRST_FIT_WEIGHTS, WEIGHTS)
    )
    np.testing.assert_array_equal(first["wide.weights"], last["wide.weights"])
    assert not np.allclose(first["wide.history"], last["wide.history"])
    # Log-counts of 420 and of 480 examples, less their means, at one scale.
    grown = last["wide.candidates"][2:, -1] - first["wide.candidates"][2:, -1]
    assert grown.std() > 0.01
    assert load_assets(context.layout.model).vocabulary("item_id")


def test_the_embed_stage_equals_embedding_in_memory(context):
    layout, spec = context.layout, context.spec
    corpus = load_corpus(layout.preprocessed, spec)
    queries = load_query_set(layout.preprocessed, "test", spec, corpus)
    towers = load_towers(layout.model)
    for tower, inputs, stored in (
        (towers.candidate, corpus.raw, read_candidate_embeddings(layout.embeddings).vectors),
        (towers.query, queries.inputs, read_query_embeddings(layout.embeddings, "test").vectors),
    ):
        assert stored.shape[1] == DIM + RANK + 1
        np.testing.assert_allclose(stored, embed_in_memory(tower, inputs), atol=1e-6)
        assert np.ptp(np.linalg.norm(stored, axis=1)) > 0.01  # not unit vectors


def test_the_bundle_scores_as_the_towers_do(context):
    layout = context.layout
    corpus = load_corpus(layout.preprocessed, context.spec)
    queries = load_query_set(layout.preprocessed, "test", context.spec, corpus)
    towers = load_towers(layout.model)
    raw = {name: tf.constant(values) for name, values in queries.inputs.items()}
    embedded = towers.query(raw).numpy()
    scores = embedded @ read_candidate_embeddings(layout.embeddings).vectors.T
    served = answers(load_bundle(layout.bundle / "tiny"), "candidate_generation", queries.inputs)
    rows = corpus.row_of([name.decode() for name in served["candidate_ids"].ravel()])
    expected = np.take_along_axis(scores, rows.reshape(served["scores"].shape), axis=1)
    np.testing.assert_allclose(served["scores"], expected, atol=1e-5)
    assert (served["scores"][:, 0] >= scores.max(axis=1) - 0.1).mean() > 0.9
