"""Second stages made by hand: a fake query tower and scorer around given heads."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from tfrs_twotower.evaluation.evaluated_data import SecondStage
from tfrs_twotower.evaluation.pre_ranker_scores import PreRankerScores
from tfrs_twotower.towers.pre_ranker import Combination, Member, PreRanker
from tfrs_twotower.towers.tower import TowerOutput

QUERY_SHAPES = ((3, 4), (1, 2))
CANDIDATE_SHAPES = ((2, 4), (5, 2))


def late_interaction(query_heads, candidate_heads):
    """`[b, R, d]` and `[b, n, H, d]` to `[b, n]`: max over H, sum over R."""
    pairs = tf.einsum("brd,bnhd->bnrh", query_heads, candidate_heads)
    return tf.reduce_sum(tf.reduce_max(pairs, axis=3), axis=2)


def member(number, candidate_heads):
    """A member whose query heads are the raw feature `heads_0`, `heads_1`, .."""
    query = SimpleNamespace(
        inputs=lambda raw: raw,
        encode=lambda tokens: TowerOutput(None, tokens[f"heads_{number}"]),
    )
    towers = SimpleNamespace(query=query, scorer=late_interaction)
    return Member(towers, tf.constant(candidate_heads, tf.float32))


def second_stage(query_heads, candidate_heads, signals, weights, size, log=()):
    """A stage with given heads: a list of each member's, for queries and for candidates."""
    num_members = len(candidate_heads)
    names = ["retrieval", *(f"interaction_{i}" for i in range(num_members))]
    names += [f"signal_{i}" for i in range(signals.shape[1])]
    made = PreRanker(
        tuple(member(number, heads) for number, heads in enumerate(candidate_heads)),
        Combination(size, tuple(names), tuple(weights)),
        tf.constant(signals, tf.float32),
    )
    raw = {f"heads_{i}": np.asarray(heads, np.float32) for i, heads in enumerate(query_heads)}
    return SecondStage(
        size,
        PreRankerScores(made, raw, "pre_ranker"),
        dict(zip(made.combination.features, made.combination.weights, strict=True)),
        list(log),
    )


def random_stage(seed, num_queries, num_candidates, weights, size, log=()):
    """Two members and as many signals as there are weights for, drawn at random."""
    random = np.random.default_rng(seed)
    return second_stage(
        [random.normal(size=(num_queries, *shape)) for shape in QUERY_SHAPES],
        [random.normal(size=(num_candidates, *shape)) for shape in CANDIDATE_SHAPES],
        random.normal(size=(num_candidates, len(weights) - 3)),
        weights,
        size,
        log,
    )
