"""Where the time of a cascade goes: its retrieval and its pre-ranking, each alone in a session.

Of each also what nothing can take away: the search's own operations, and the read of the heads.
"""

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.graph.pre_ranking import PreRanking
from tests.benchmarks.million_candidates.cascades import (
    NUMBER,
    Heads,
    LookupTower,
    Own,
    pre_ranker,
    release_of,
)
from tests.benchmarks.million_candidates.measuring import Clock, Times, measure
from tests.benchmarks.million_candidates.served import Session, Threads
from tests.benchmarks.million_candidates.world import World
from tfrs_twotower.index.partial_search import PartialSearch

_LIST = ["rows", "scores"]


class _Parts(tf.Module):
    def __init__(self, world: World, own: Own, heads: Heads, depth: int, k: int) -> None:
        super().__init__(name="parts")
        self.tower = LookupTower(world.queries, world.query_heads)
        self.search = release_of("parts", world, own, heads, depth=depth, k=k).search()
        self.pre_ranking = PreRanking(pre_ranker(world, depth), heads.storage, fused=heads.fused)
        self._depth, self._k, self._parameters = depth, k, own.parameters

    def nothing(self, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"number": raw[NUMBER] + 1.0}

    def retrieval(self, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        nobody = tf.fill([tf.shape(raw[NUMBER])[0], 1], -1)
        scores, rows = self.search.search(self.tower(raw), self._depth, nobody, ordered=False)
        return {"rows": rows, "scores": scores}

    def near(self, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        assert isinstance(self.search, PartialSearch)
        assert self._parameters is not None
        scores, rows = self.search.near(self.tower(raw), self._depth, self._parameters)
        return {"rows": rows, "scores": scores}

    def heads(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        (heads,), _ = self.pre_ranking.candidate_heads.of_rows(rows)
        return {"heads": heads.vectors[:, :, 0]}  # a column, because an answer is copied

    def pre_rank(self, rows: tf.Tensor, scores: tf.Tensor, **raw: tf.Tensor) -> dict[str, Any]:
        scores, rows = self.pre_ranking.best(raw, rows, scores, self._k)
        return {"rows": rows, "scores": scores}


def measure_parts(
    world: World,
    own: Own,
    heads: Heads,
    queries: np.ndarray[Any, np.dtype[np.int64]],
    *,
    depth: int,
    k: int,
    rounds: int,
    threads: Threads,
    clock: Clock,
) -> dict[str, Times]:
    """Times of single queries: an empty signature, retrieval of `depth`, pre-ranking of that."""
    parts = _Parts(world, own, heads, depth, k)
    number = {NUMBER: tf.TensorSpec([None], tf.float32, name=NUMBER)}
    found = {
        "rows": tf.TensorSpec([None, depth], tf.int32, name="rows"),
        "scores": tf.TensorSpec([None, depth], tf.float32, name="scores"),
    }
    specs = {
        "nothing": number,
        "retrieval": number,
        "heads": {"rows": found["rows"]},
        "pre_rank": {**number, **found},
    }
    if own.parameters is not None:
        specs["near"] = number
    signatures = {
        name: tf.function(getattr(parts, name), autograph=False).get_concrete_function(**inputs)
        for name, inputs in specs.items()
    }
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann", "Twotower"])
    with tempfile.TemporaryDirectory() as scratch:
        tf.saved_model.save(parts, scratch, signatures=signatures, options=options)
        del parts, signatures
        gc.collect()
        session = Session(Path(scratch), threads)
    nothing = session.function("nothing", [NUMBER], ["number"])
    retrieval = session.function("retrieval", [NUMBER], _LIST)
    heads_of = session.function("heads", ["rows"], ["heads"])
    pre_rank = session.function("pre_rank", [NUMBER, *_LIST], _LIST)
    numbers = queries.astype(np.float32)[:, None]
    lists = [retrieval(one) for one in numbers]
    asked: dict[str, Callable[[int], Any]] = {
        "empty call": lambda turn: nothing(numbers[turn]),
        "retrieval": lambda turn: retrieval(numbers[turn]),
        "heads alone": lambda turn: heads_of(lists[turn][0]),
        "pre-ranking": lambda turn: pre_rank(numbers[turn], *lists[turn]),
    }
    if own.parameters is not None:
        near = session.function("near", [NUMBER], _LIST)
        asked["search alone"] = lambda turn: near(numbers[turn])
    times = measure(asked, num_queries=len(queries), rounds=rounds, clock=clock)
    session.close()
    return times
