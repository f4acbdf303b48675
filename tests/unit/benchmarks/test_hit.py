"""Laws of the generators: whom their loss moves, and what a cold id gets."""

import numpy as np
import pytest
import tensorflow as tf

from tests.benchmarks.hit import METRICS, hit_towers, measure, systems_of, table
from tests.fixtures.tiny import tiny_run_config, tiny_spec, write_tiny_preprocessed
from tfrs_twotower.config import PlainTowerConfig
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.data.loading import load_corpus, load_query_set
from tfrs_twotower.losses.list_losses import mimic
from tfrs_twotower.towers.build import build_towers

CONFIG = PlainTowerConfig(embedding_dim=8)


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny") / "preprocessed"
    write_tiny_preprocessed(directory)
    return directory


@pytest.fixture(scope="module")
def raw(preprocessed):
    corpus = load_corpus(preprocessed, tiny_spec())
    queries = load_query_set(preprocessed, "test", tiny_spec(), corpus).inputs
    return [
        {name: tf.constant(values[:6]) for name, values in side.items()}
        for side in (queries, corpus.raw)
    ]


def towers_of(preprocessed, **options):
    plain = build_towers(tiny_spec(), CONFIG, load_assets(preprocessed), seed=3)
    return hit_towers(plain, CONFIG, seed=3, **options)


def test_the_loss_moves_the_generator_alone(preprocessed, raw):
    towers = towers_of(preprocessed)
    with tf.GradientTape() as tape:
        query, candidate = (
            tower.encode(tower.inputs(side), training=True)
            for tower, side in zip((towers.query, towers.candidate), raw, strict=True)
        )
        loss = tf.reduce_mean(mimic(query.augmented, candidate.embedding))
    variables = towers.trainable_variables
    moved = {
        variable.name
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True)
        if gradient is not None and np.any(tf.convert_to_tensor(gradient))
    }
    assert moved == {f"query.generator.{name}:0" for name in ("hidden", "hidden_bias", "kernel")}


def test_the_squared_distance_is_a_loss_of_cosines(preprocessed, raw):
    towers = towers_of(preprocessed)
    query = towers.query.encode(towers.query.inputs(raw[0])).augmented
    target = towers.candidate(raw[1])
    cosines = [float(np.dot(a, b)) for a, b in zip(query.numpy(), target.numpy(), strict=True)]
    np.testing.assert_allclose(mimic(query, target), 2 - 2 * np.array(cosines), atol=1e-5)


def test_cold_ids_with_equal_features_get_equal_vectors(preprocessed, raw):
    towers = towers_of(preprocessed)
    one = {name: tf.repeat(values[:1], 3, axis=0) for name, values in raw[1].items()}
    one["item_id"] = tf.constant([b"new_1", b"new_2", b"new_3"])
    other = tf.tensor_scatter_nd_update(one["title"], [[2]], [b"another title"])
    found = towers.candidate.encode(towers.candidate.inputs({**one, "title": other}))
    for vectors in (found.augmented.numpy(), found.embedding.numpy()):
        np.testing.assert_array_equal(vectors[0], vectors[1])
        assert np.abs(vectors[0] - vectors[2]).max() > 1e-4
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_heads_score_with_the_mean_of_their_cosines(preprocessed, raw):
    towers = towers_of(preprocessed, num_heads=4)
    query, candidate = (
        tower(side).numpy().reshape(6, 4, 2)
        for tower, side in zip((towers.query, towers.candidate), raw, strict=True)
    )
    norms = np.linalg.norm(query, axis=2) * np.linalg.norm(candidate, axis=2)
    cosines = np.sum(query * candidate, axis=2) / norms
    scores = np.sum(query * candidate, axis=(1, 2))
    np.testing.assert_allclose(scores, cosines.mean(axis=1), atol=1e-5)


def test_a_training_is_measured(preprocessed):
    training = {"batch_size": 64, "epochs": 1, "early_stopping": {"metric": "recall@10"}}
    config = tiny_run_config(training=training)
    job, model = systems_of(tiny_spec())["hit, 4 heads"]
    found = measure(config, tiny_spec(), preprocessed, job, model)
    assert set(found) == set(METRICS)
    assert found["recall@100"] == 1.0  # of 40 candidates


def test_the_table():
    found = {"hit": [{"ndcg@10": 0.25, "recall@100": 1.0}]}
    assert table(found).splitlines() == [
        "| towers | ndcg@10 | recall@100 |",
        "| --- | ---: | ---: |",
        "| hit | 0.2500 | 1.0000 |",
    ]
