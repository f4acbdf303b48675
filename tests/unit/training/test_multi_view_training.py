"""The term of further views in a step of the whole model."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.tower_contract import tensors
from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.tasks import build
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.training.negatives import NegativeSampling
from tfrs_twotower.training.two_tower_model import TwoTowerModel

BATCH = 12
MODEL = {"embedding_dim": 16, "transformer": {"num_heads": 2, "feed_forward_dim": 16}}


@pytest.fixture
def model_of(spec, assets, corpus):
    def made(side, rate):
        terms = {"multi_view": {"side": side, "token_dropout": rate, "weight": 0.5}}
        config = tiny_run_config(model=MODEL, training={"terms": terms})
        towers = build_towers(spec, config.model, assets, seed=3)
        retrieval = build.build_retrieval_task(config.training, config.model)
        return TwoTowerModel(
            towers,
            task=retrieval,
            terms=build.build_terms(config.training, config.model, towers, retrieval, 5),
            sampling=NegativeSampling(
                towers.candidate.inputs(tensors(corpus.raw)), len(corpus), num_uniform=5, seed=4
            ),
        )

    return made


@pytest.fixture
def batch(test_queries):
    rows = np.arange(BATCH, dtype=np.int32)

    def made(model):
        raw = {name: values[:BATCH] for name, values in test_queries.inputs.items()}
        return {
            "tokens": model.towers.query.inputs(tensors(raw)),
            "query_rows": tf.constant(rows),
            "candidate_rows": tf.constant(rows * 3 % 20),
            "weights": tf.ones([BATCH]),
            "step": tf.fill([BATCH], tf.constant(1, tf.int64)),
        }

    return made


def means(model, batch):
    return {name: float(value) for name, value in model.terms(batch, training=True)[1].items()}


@pytest.mark.parametrize("side", ["query", "candidate", "both"])
def test_a_view_that_hides_hardly_anything_is_the_record(model_of, batch, side):
    """Without other dropout the term is then the softmax; with more hidden it is another loss."""
    model = model_of(side, 1e-9)
    found = means(model, batch(model))
    assert found["multi_view"] == pytest.approx(found["retrieval"], rel=1e-5)
    model = model_of(side, 0.6)
    found = means(model, batch(model))
    assert found["multi_view"] != pytest.approx(found["retrieval"], rel=1e-4)


def test_views_are_saved_with_a_checkpoint_and_drawn_anew(model_of, batch, tmp_path):
    model = model_of("both", 0.5)
    given = batch(model)
    first = means(model, given)["multi_view"]
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "step"))
    second = means(model, given)["multi_view"]
    assert second != first
    other = model_of("both", 0.5)
    tf.train.Checkpoint(model=other).read(path).expect_partial()
    assert means(other, given)["multi_view"] == pytest.approx(second, rel=1e-6)
