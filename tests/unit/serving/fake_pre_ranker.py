"""A pre-ranker without training, for the corpus of `fakes`: heads are looked up in fixed tables."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from tests.unit.serving import fakes
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.towers.linear_member import LinearMember
from tfrs_twotower.towers.pre_ranker import Combination, Member, PreRanker
from tfrs_twotower.towers.tower import PairScorer, TowerOutput

NUM_CANDIDATES = len(fakes.IDS)
WEIGHTS = (0.5, 1.0, -0.7, 0.3, -0.2, 0.1, -0.4)
"""Of retrieval, two members, two half-lives, two signals."""


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class FakeHeadTower(tf.Module):
    """Heads of the query's number, modulo 25; NaN where it is missing."""

    def __init__(self, seed, num_heads, dim):
        super().__init__(name="fake_head_tower")
        self.table = tf.Variable(normal(seed, 25, num_heads, dim), trainable=False)

    def inputs(self, raw):
        return raw

    def encode(self, raw):
        missing = tf.math.is_nan(raw["size"])
        number = tf.where(missing, 0.0, raw["size"])
        heads = tf.gather(self.table, tf.cast(tf.math.floormod(number, 25.0), tf.int32))
        return TowerOutput(None, heads=tf.where(missing[:, None, None], float("nan"), heads))


class FakeHistory(tf.Module):
    """Tokens of `recent`: 2 + the number of the candidate."""

    features = (SimpleNamespace(name="recent"),)

    def __call__(self, raw):
        names = tf.where(raw["recent"] == "", "c-2", raw["recent"])
        return {"recent": tf.strings.to_number(tf.strings.substr(names, 1, 9), tf.int32) + 2}


def fake_member(seed, num_heads, num_candidate_heads, dim):
    scorer = PairScorer(WeightMaker(0))
    scorer.set_scale(1.0 + 0.1 * seed)
    for variable in scorer.variables:
        if "bias" in variable.name:
            variable.assign(0.25 * seed)
    towers = SimpleNamespace(query=FakeHeadTower(seed, num_heads, dim), scorer=scorer)
    heads = normal(100 + seed, NUM_CANDIDATES, num_candidate_heads, dim)
    return Member(towers, tf.constant(heads))


def fake_pre_ranker(num_candidates=12, weights=WEIGHTS, linear=True):
    """Two members, two signals, and EASE with two half-lives if `linear`."""
    ease = None
    if linear:
        history, candidates = normal(7, 2 + NUM_CANDIDATES, 5), normal(8, NUM_CANDIDATES, 5)
        history[0] = 0.0
        ease = LinearMember(FakeHistory(), (None, 2.0), history, candidates)
    else:
        weights = (*weights[:3], *weights[5:])
    names = ("retrieval", "interaction_0", "interaction_1", *(ease.features if ease else ()))
    return PreRanker(
        (fake_member(1, 2, 3, 4), fake_member(2, 1, 1, 6)),
        Combination(num_candidates, (*names, "log_count", "log_count_7d"), weights),
        tf.constant(normal(9, NUM_CANDIDATES, 2)),
        ease,
    )
