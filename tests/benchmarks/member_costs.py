"""What a trained member of the pre-ranker costs a request, by the kind of its score.

    python -m tests.benchmarks.member_costs

Heads are random: time does not depend on their values. One query at a time, in the core operations
of an exported graph, on one core, without retrieval, of a corpus of 100,000 candidates.
Times are those of the processor. The multiplications are those of one candidate's score.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, get_args

import numpy as np
import tensorflow as tf

from serving.graph.candidate_heads import HeadStorage
from serving.graph.pre_ranking import PreRanking
from tests.fixtures.planted_inttower import both_facets
from tfrs_twotower.config import ColdConfig, HeadsConfig, IntTowerConfig, MolConfig
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.pre_ranker import Combination, Member, PreRanker

_KINDS: dict[str, type[HeadsConfig]] = {
    "inttower": IntTowerConfig,
    "mol": MolConfig,
    "cold": ColdConfig,
}
_CORPUS = 100_000


class Cost(NamedTuple):
    """Of one member."""

    multiplications: int
    """For one candidate."""
    stored: int
    """Numbers that are stored for one candidate."""
    milliseconds: dict[str, float]
    """Median processor time of a request by the storage of the heads."""


def config_of(kind: str) -> HeadsConfig:
    """A member of this kind with the defaults of its heads."""
    return _KINDS[kind](kind=kind)  # type: ignore[call-arg]


def multiplications(config: HeadsConfig) -> int:
    """Multiplications of one candidate's score."""
    num_query_heads = config.num_query_layers * config.num_query_heads
    pairs = num_query_heads * config.num_candidate_heads
    products = pairs * config.head_dim
    if isinstance(config, MolConfig):
        return products + 2 * pairs * config.gate_dim + 2 * pairs
    if isinstance(config, ColdConfig):
        inputs = config.num_candidate_heads * config.head_dim + pairs
        widths = (inputs, *config.cross_dims, 1)
        layers = sum(a * b for a, b in pairwise(widths))
        return products + pairs + layers
    return products


def measure(kind: str, num_candidates: int, *, repeats: int, corpus: int = _CORPUS) -> Cost:
    """Times requests that re-score so many candidates with one member of this kind."""
    config, planted = config_of(kind), both_facets(4)
    towers = build_towers(planted.spec, config, planted.assets, seed=1)
    one = {name: tf.constant(values[:1]) for name, values in planted.candidates.items()}
    shape = towers.candidate.encode(towers.candidate.inputs(one)).heads.shape[1:]
    random = np.random.default_rng(0)
    heads = random.normal(size=(corpus, *shape)).astype(np.float32)
    member = Member(towers, tf.constant(heads / np.linalg.norm(heads, axis=2, keepdims=True)))
    pre_ranker = PreRanker(
        (member,),
        Combination(num_candidates, ("retrieval", "interaction_0"), (0.5, 1.0)),
        tf.zeros([corpus, 0]),
    )
    query = {name: tf.constant(values[:1]) for name, values in planted.train.items()}
    rows = tf.constant(random.choice(corpus, (1, num_candidates), replace=False).astype(np.int32))
    scores = tf.zeros([1, num_candidates])
    milliseconds: dict[str, float] = {}
    for storage in get_args(HeadStorage):
        pre_ranking = PreRanking(pre_ranker, storage)
        request = tf.function(pre_ranking.__call__, autograph=False)
        taken = []
        for _ in range(repeats):
            started = time.process_time()
            request(query, rows, scores).numpy()
            taken.append(time.process_time() - started)
        milliseconds[storage] = 1e3 * float(np.median(taken))
    return Cost(multiplications(config), int(np.prod(shape)), milliseconds)


def table(costs: dict[str, Cost]) -> str:
    """The costs as a Markdown table."""
    storages = get_args(HeadStorage)
    lines = [
        f"| kind | multiplications | stored numbers | {' | '.join(f'{s}, ms' for s in storages)} |",
        f"| --- {'| ---: ' * (2 + len(storages))}|",
    ]
    for kind, cost in costs.items():
        times = " | ".join(f"{cost.milliseconds[storage]:.2f}" for storage in storages)
        lines.append(f"| {kind} | {cost.multiplications:,} | {cost.stored:,} | {times} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.member_costs")
    parser.add_argument("--candidates", type=int, default=1000, metavar="N", help="(1000)")
    parser.add_argument("--repeats", type=int, default=300, metavar="N", help="(300)")
    options = parser.parse_args(arguments)
    costs = {kind: measure(kind, options.candidates, repeats=options.repeats) for kind in _KINDS}
    sys.stdout.write(table(costs) + "\n")


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    main()
