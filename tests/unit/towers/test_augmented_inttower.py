"""DAT's augmented vectors as fields of an IntTower: DAT, Light-SE and FE-Block in one tower."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import tensors
from tests.fixtures.tiny import tiny_run_config
from tests.reference import inttower as reference
from tests.unit.towers.test_inttower import (
    DENSE,
    DROPOUT,
    INTTOWER,
    IntTowerContract,
    check_that_served_scores_are_those_of_the_joint_graph,
    encode,
)
from tfrs_twotower.losses.list_losses import mimic
from tfrs_twotower.towers.build import build_towers

BOTH = {"query_augmentation": "auto", "candidate_augmentation": "auto"}


class TestAugmented(IntTowerContract):
    model = {**INTTOWER, **DROPOUT, **BOTH, "query_segment": "segment", "candidate_views": 2}


def build(spec, assets, **model):
    settings = {**INTTOWER, **BOTH, **model}
    return build_towers(spec, tiny_run_config(model=settings).model, assets, seed=5)


def fill(towers, seed=1):
    """Gives the tables of augmented vectors and the gates values that are far from their start."""
    random = np.random.default_rng(seed)
    for name, variable in towers.named_variables().items():
        if ".augmentation." in name or ".gate." in name:
            variable.assign(random.normal(size=variable.shape))


@pytest.mark.parametrize("body", ["residual", "dense"])
def test_an_augmented_vector_is_a_field_that_the_gate_weighs(
    spec, assets, test_queries, corpus, body
):
    """The oracle has one more field: the row of the id, times W."""
    towers = build(spec, assets, num_residual_layers=1, **(DENSE if body == "dense" else {}))
    fill(towers)
    weights = {name: value.numpy() for name, value in towers.named_variables().items()}
    for side, raw, name in (
        ("query", test_queries.inputs, "user_id"),
        ("candidate", corpus.raw, "item_id"),
    ):
        tower = getattr(towers, side)
        tokens = tower.inputs(tensors(raw))
        fields, actual = tower.encode_fields(tokens).numpy(), encode(tower, raw)
        for row in range(5):
            own = weights[f"{side}.augmentation.rows"][int(tokens[name][row])]
            extra = own @ weights[f"{side}.augmentation.kernel"]
            gated, _ = reference.light_se(
                np.concatenate([fields[row], extra[None]]),
                weights[f"{side}.gate.kernel"],
                weights[f"{side}.gate.bias"],
            )
            layers = [
                (weights[f"{side}.{body}_{n}.kernel"], weights[f"{side}.{body}_{n}.bias"])
                for n in range(2 if body == "dense" else 1)
            ]
            if body == "dense":
                outputs = reference.dense_layers(gated, layers)
                last = outputs[-1] @ weights[f"{side}.embedding.kernel"]
            else:
                outputs = reference.residual_layers(gated, weights[f"{side}.bias"], layers)
                last = outputs[-1]
            np.testing.assert_allclose(
                actual.embedding[row], last / np.linalg.norm(last), rtol=1e-3, atol=1e-5
            )
            kept = outputs if side == "query" else outputs[-1:]
            kernels = [weights[f"{side}.heads.layer_{n}.kernel"] for n in range(len(kept))]
            np.testing.assert_allclose(
                actual.heads[row], reference.heads(kept, kernels, 8), rtol=1e-3, atol=1e-3
            )
            np.testing.assert_array_equal(actual.augmented[row], own)


def test_zero_vectors_without_a_gate_give_the_inttower(spec, assets, test_queries, corpus):
    towers = build(spec, assets, field_gate="none")
    plain = build(
        spec, assets, field_gate="none", query_augmentation="none", candidate_augmentation="none"
    )
    for name, variable in towers.named_variables().items():
        if name.endswith("augmentation.rows"):
            variable.assign(tf.zeros_like(variable))
    for side, raw in (("query", test_queries.inputs), ("candidate", corpus.raw)):
        with_zeros, without = (encode(getattr(pair, side), raw) for pair in (towers, plain))
        np.testing.assert_allclose(with_zeros.embedding, without.embedding, atol=1e-6)
        np.testing.assert_allclose(with_zeros.heads, without.heads, atol=1e-5)
        assert without.augmented is None


def test_the_mimic_loss_trains_the_vectors_alone(spec, assets, test_queries, corpus):
    towers = build(spec, assets)
    with tf.GradientTape() as tape:
        query = encode(towers.query, test_queries.inputs)
        candidate = encode(towers.candidate, corpus.raw)
        size = min(len(query.embedding), len(candidate.embedding))
        losses = mimic(query.augmented[:size], candidate.embedding[:size])
        losses += mimic(candidate.augmented[:size], query.embedding[:size])
        loss = tf.reduce_mean(losses)
    reached = [
        name
        for name, gradient in tape.gradient(loss, towers.named_variables()).items()
        if gradient is not None
    ]
    assert reached == ["candidate.augmentation.rows", "query.augmentation.rows"]


def test_a_history_is_read_by_the_candidate_tower(spec, assets, test_queries, corpus):
    """The vector of a query is the mean of its candidates' embeddings, as they are at the end."""
    towers = build(spec, assets, query_augmentation="history_mean")
    tokens = towers.candidate.inputs(tensors(corpus.raw))
    queries = towers.query.inputs(tensors(test_queries.inputs))
    before = encode(towers.query, test_queries.inputs).embedding
    towers.adapt(queries, tokens)
    towers.update_memory(tokens, towers.candidate.embed_tokens(tokens))
    towers.refresh_derived_state(tokens)
    assert np.abs(encode(towers.query, test_queries.inputs).embedding - before).max() > 1e-3
    embeddings = towers.candidate.embed_tokens(tokens).numpy()
    place = {row: n for n, row in enumerate(tokens["item_id"].numpy().tolist())}
    means = towers.query.augmentation(queries, None).vectors.numpy()
    assert not towers.query.has_augmented
    for row, events in enumerate(queries["history"].numpy()):
        own = [embeddings[place[event]] for event in events if event in place]
        expected = np.mean(own, axis=0) if own else np.zeros(16)
        np.testing.assert_allclose(means[row], expected, atol=1e-5)


@pytest.mark.parametrize("body", ["residual", "dense"])
def test_the_served_score_equals_that_of_the_joint_graph(
    spec, assets, test_queries, corpus, tmp_path, body
):
    towers = build(spec, assets, **DROPOUT, **(DENSE if body == "dense" else {}))
    fill(towers)
    check_that_served_scores_are_those_of_the_joint_graph(towers, corpus, test_queries, tmp_path)
