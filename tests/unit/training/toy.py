"""A planted toy set: 50 candidates, embedded by tables, without a preprocessed artifact."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.config import OptimizerConfig, TrainingConfig
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.losses.negative_columns import KnownPositives
from tfrs_twotower.losses.sampling_probability import CountedFrequency
from tfrs_twotower.ranking import GroundTruth
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.inttower import IntTowers
from tfrs_twotower.towers.tower import PairScorer, Tower, TowerOutput, Towers
from tfrs_twotower.training.negatives import NegativeSampling
from tfrs_twotower.training.optimizers import make_optimizer
from tfrs_twotower.training.two_tower_model import TwoTowerModel

NUM_CANDIDATES = 50
DIM = 16


class TableTower(Tower):
    """A tower with one vector for each token."""

    embedding_dim = DIM

    def __init__(self, name, num_rows=NUM_CANDIDATES, seed=0):
        super().__init__(name=name)
        value = tf.random.stateless_normal([num_rows, DIM], [seed, len(name)])
        self.table = tf.Variable(value, name=f"{name}_table")

    def encode(self, tokens, training=False):
        del training
        return TowerOutput(tf.math.l2_normalize(tf.gather(self.table, tokens["id"]), axis=1))


class HeadTower(TableTower):
    """A tower with one vector and `num_heads` heads of three numbers for each token."""

    def __init__(self, name, num_heads, seed=0):
        super().__init__(name, seed=seed)
        value = tf.random.stateless_normal([NUM_CANDIDATES, num_heads, 3], [seed, 9 + num_heads])
        self.heads = tf.Variable(value, name=f"{name}_heads")

    def encode(self, tokens, training=False):
        embedding = super().encode(tokens, training).embedding
        return TowerOutput(embedding, tf.gather(self.heads, tokens["id"]))


def head_towers(seed=0, layers=2):
    """An IntTower of tables: `layers` query layers of two heads, and two candidate heads."""
    towers = (HeadTower("query", 2 * layers, seed), HeadTower("candidate", 2, seed))
    return IntTowers(*towers, {}, PairScorer(WeightMaker(seed).under("scorer")))


def toy_table(repeats=8):
    """The positive of query q is candidate q; each pair has `repeats` examples."""
    rows = np.tile(np.arange(NUM_CANDIDATES, dtype=np.int32), repeats)
    return ExampleTable(
        tokens={"id": rows},
        query_ids=np.array([b"%03d" % i for i in range(NUM_CANDIDATES)], object),
        query_rows=rows,
        candidate_rows=rows,
        timestamps=np.arange(len(rows), dtype=np.int64),
        weights=np.ones(len(rows), np.float32),
    )


def toy_model(
    *,
    seed=0,
    towers=None,
    optimizer=None,
    num_uniform=0,
    frequency=None,
    memory=None,
    mask_other_positives=True,
    terms=lambda task, towers: (),
    **task,
):
    table = toy_table()
    known = KnownPositives(
        table.query_rows,
        table.candidate_rows,
        num_queries=NUM_CANDIDATES,
        num_candidates=NUM_CANDIDATES,
    )
    if frequency is None:
        frequency = CountedFrequency(np.bincount(table.candidate_rows), batch_size=25)
    if towers is None:
        towers = Towers(TableTower("query", seed=seed), TableTower("candidate", seed=seed))
    task = RetrievalTask(**{"temperature": 0.1, **task})
    model = TwoTowerModel(
        towers,
        task=task,
        sampling=NegativeSampling(
            {"id": tf.range(NUM_CANDIDATES)},
            NUM_CANDIDATES,
            num_uniform,
            frequency,
            known if mask_other_positives else None,
            memory,
            seed,
        ),
        terms=terms(task, towers),
        clip_norm=1.0,
    )
    model.compile(
        optimizer=make_optimizer(optimizer or OptimizerConfig(learning_rate=0.05, warmup_steps=0))
    )
    model.optimizer.build(model.trainable_variables)
    return model


def toy_queries():
    everything = np.arange(NUM_CANDIDATES)
    return QuerySet(
        GroundTruth.from_lists([[row] for row in everything]),
        Ragged.from_lists([[] for _ in everything]),
        {"id": everything.astype(np.int32)},
    )


def toy_config(**changes):
    return TrainingConfig.model_validate(
        {
            "batch_size": 25,
            "epochs": 10,
            "optimizer": {"learning_rate": 0.05, "warmup_steps": 0},
            "early_stopping": {"metric": "recall@1", "patience": 2},
            "checkpoint_every_steps": 7,
            **changes,
        }
    )


def toy_batch(rows, step=1, weights=None, **more):
    rows = np.asarray(rows, np.int32)
    return {
        "tokens": {"id": tf.constant(rows)},
        "query_rows": tf.constant(rows),
        "candidate_rows": tf.constant(rows),
        "weights": tf.constant(np.ones(len(rows)) if weights is None else weights, tf.float32),
        "step": tf.fill([len(rows)], tf.constant(step, tf.int64)),
        **more,
    }
