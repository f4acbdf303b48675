"""Models and batches on which two replicas must make the same steps as one.

There is no dropout, because replicas draw different masks.
"""

import numpy as np
import tensorflow as tf

from tests.contracts.tower_contract import tensors
from tests.fixtures.planted_dat import plant_dat
from tests.fixtures.tiny import tiny_run_config
from tests.unit.training.toy import DIM, head_towers, toy_batch, toy_model
from tfrs_twotower.config import (
    CategoryAlignmentConfig,
    ContrastiveInteractionConfig,
    OptimizerConfig,
)
from tfrs_twotower.losses.negative_columns import CrossBatchMemory
from tfrs_twotower.losses.sampling_probability import CountedFrequency, StreamingFrequency
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.tasks.terms import (
    CategoryAlignmentTerm,
    ContrastiveInteractionTerm,
    DualTerm,
    InteractionTerm,
    MimicTerm,
)
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.training.negatives import NegativeSampling
from tfrs_twotower.training.optimizers import make_optimizer
from tfrs_twotower.training.two_tower_model import TwoTowerModel

ROWS = [3, 9, 9, 30, 41, 7, 3, 12]
WEIGHTS = [1.0, 0.5, 2.0, 1.0, 0.0, 1.0, 3.0, 1.0]
NUM_STEPS = 3


def mixed_negatives():
    return toy_model(num_uniform=5, learn_temperature=True), _toy_batches()


def dual_same_tower_and_memory():
    model = toy_model(
        num_uniform=5,
        same_tower="both",
        frequency=StreamingFrequency(50, initial_gap=4.0),
        memory=CrossBatchMemory(12, DIM),
        terms=lambda task, towers: [DualTerm(0.3, task)],
    )
    return model, _toy_batches()


def interaction():
    config = ContrastiveInteractionConfig(weight=0.1)
    model = toy_model(
        towers=head_towers(),
        num_uniform=5,
        terms=lambda task, towers: [
            InteractionTerm(1.0, towers.scorer, 1.0),
            ContrastiveInteractionTerm(config),
        ],
    )
    return model, _toy_batches()


def mined_negatives():
    """Two mined candidates and queries for each row; some are padding."""
    model = toy_model(terms=lambda task, towers: [DualTerm(0.3, task)])
    batches = _toy_batches()
    for step, batch in enumerate(batches):
        random = np.random.default_rng(step)
        mined = random.integers(-5, 50, (2, len(ROWS), 2)).astype(np.int32)
        batch["mined_rows"], batch["mined_queries_present"] = mined[0], mined[1] >= 0
        batch["mined_query_tokens"] = {"id": np.maximum(mined[1], 0).ravel()}
    return model, batches


def dat():
    """Learned vectors on both sides; unknown queries get the mean of their history."""
    planted = plant_dat(seed=0, num_train=10, num_test=6)
    config = tiny_run_config(
        model={"kind": "dat", "embedding_dim": 8, "augmentation_dropout": 0.0}
    ).model
    towers = build_towers(planted.spec, config, planted.assets, seed=1)
    corpus = towers.candidate.inputs(tensors(planted.corpus))
    alignment = CategoryAlignmentConfig(feature="genre", weight=0.5)
    num_candidates = len(planted.genres)
    model = TwoTowerModel(
        towers,
        task=RetrievalTask(temperature=0.1),
        terms=[
            MimicTerm("query", 0.5),
            MimicTerm("candidate", 0.5),
            CategoryAlignmentTerm(alignment),
        ],
        sampling=NegativeSampling(
            corpus,
            num_candidates,
            frequency=CountedFrequency(np.ones(num_candidates), batch_size=8),
        ),
        clip_norm=1.0,
    )
    model.compile(optimizer=make_optimizer(OptimizerConfig(learning_rate=0.01, warmup_steps=0)))
    model.optimizer.build(model.trainable_variables)
    known, unknown = planted.train, planted.test
    batches = []
    for step in range(1, NUM_STEPS + 1):
        # Four events of known queries and four unknown queries; examples repeat over the steps.
        chosen = [0, 1, 2, 3, 0, 1, 2 + step, 3]
        raw = {
            name: np.concatenate([known.raw[name][chosen[:4]], unknown.raw[name][chosen[4:]]])
            for name in known.raw
        }
        rows = np.concatenate([known.positive_rows[chosen[:4]], unknown.positive_rows[chosen[4:]]])
        tokens = towers.query.inputs(tensors(raw))
        # The memory matters only if earlier steps have written candidates of a history, so the
        # positives include the history of the first unknown query.
        rows[:3] = planted_rows(planted, unknown.raw["history"][0])
        batches.append(
            {
                "tokens": {name: value.numpy() for name, value in tokens.items()},
                "query_rows": np.array([0, 1, 2, 3, 10, 11, 12 + step, 13], np.int32),
                "candidate_rows": rows.astype(np.int32),
                "weights": np.array(WEIGHTS, np.float32),
                "step": np.full(8, step, np.int64),
            }
        )
    return model, batches


def planted_rows(planted, ids):
    """Corpus rows of candidate ids."""
    return [int(np.flatnonzero(planted.corpus["item"] == name)[0]) for name in ids]


CASES = [mixed_negatives, dual_same_tower_and_memory, interaction, mined_negatives, dat]


def _toy_batches():
    return [
        tf.nest.map_structure(lambda value: value.numpy(), toy_batch(ROWS, step, WEIGHTS))
        for step in range(1, NUM_STEPS + 1)
    ]
