"""Gradients of a batch that is embedded in chunks, with dropout on."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import tensors
from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.tasks import build
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.training.negatives import NegativeSampling
from tfrs_twotower.training.two_tower_model import TwoTowerModel

DROPOUT = {
    "embedding_dim": 16,
    "id_dropout": 0.3,
    "history_dropout": 0.3,
    "token_dropout": 0.3,
    "dropout": 0.2,
    "transformer": {"num_layers": 1, "num_heads": 2, "feed_forward_dim": 16},
}
BATCH = 11


def model_of(spec, assets, corpus, kind, *, cached_chunks, mined):
    slots = {"query_slots": {"num_slots": 4}} if kind == "plain" else {}
    terms = {"multi_view": {}} if kind == "dat" else {}
    config = tiny_run_config(model={"kind": kind, **DROPOUT, **slots}, training={"terms": terms})
    towers = build_towers(spec, config.model, assets, seed=3)
    tokens = towers.candidate.inputs(tensors(corpus.raw))
    retrieval = build.build_retrieval_task(config.training, config.model)
    terms = build.build_terms(config.training, config.model, towers, retrieval)
    if mined:
        terms += build.build_list_terms(tiny_run_config(pre_ranking={}).pre_ranking)
    return TwoTowerModel(
        towers,
        task=retrieval,
        terms=terms,
        sampling=NegativeSampling(tokens, len(corpus), num_uniform=5, seed=4),
        cached_chunks=cached_chunks,
    )


def batch_of(model, queries, step, mined):
    raw = {name: values[:BATCH] for name, values in queries.inputs.items()}
    rows = np.arange(BATCH, dtype=np.int32)
    batch = {
        "tokens": model.towers.query.inputs(tensors(raw)),
        "query_rows": tf.constant(rows),
        "candidate_rows": tf.constant(rows * 3 % 20),
        "weights": tf.ones([BATCH]),
        "step": tf.fill([BATCH], tf.constant(step, tf.int64)),
    }
    if mined:
        batch["listed_rows"] = tf.constant((rows[:, None] + [[20, 25, 29]]) % 40, tf.int32)
    return batch


@pytest.mark.parametrize(
    ("kind", "mined", "in_graph"),
    [("plain", False, True), ("dat", False, False), ("colbert", True, False)],
)
def test_gradients_are_those_of_the_undivided_batch(
    spec, assets, corpus, test_queries, kind, mined, in_graph
):
    whole, divided = (
        model_of(spec, assets, corpus, kind, cached_chunks=chunks, mined=mined) for chunks in (1, 3)
    )
    functions = [model.gradients for model in (whole, divided)]
    if in_graph:
        functions = [tf.function(one, autograph=False) for one in functions]
    for step in (1, 2):  # the second shows that the random numbers went on alike
        batch = batch_of(whole, test_queries, step, mined)
        (loss, _, expected), (divided_loss, _, found) = (one(batch) for one in functions)
        np.testing.assert_allclose(divided_loss, loss, rtol=1e-6)
        assert len(expected) == len(found) > 5
        for one, other, variable in zip(expected, found, whole.learning_variables, strict=True):
            assert (one is None) == (other is None), variable.name
            if one is not None:
                one, other = (tf.convert_to_tensor(values).numpy() for values in (one, other))
                size = max(1.0, float(np.abs(one).max()))
                np.testing.assert_allclose(
                    other / size, one / size, rtol=0, atol=1e-6, err_msg=variable.name
                )
