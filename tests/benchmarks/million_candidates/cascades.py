"""The project's own cascades: index, towers that look up, pre-ranker, bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.graph.candidate_heads import HeadStorage
from serving.graph.release import Release, ReleaseSettings
from tests.benchmarks.million_candidates.world import Floats, World
from tfrs_twotower.artifacts import Lineage
from tfrs_twotower.config import ExportConfig, IndexConfig
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.index.quality import Kind, SearchParameters
from tfrs_twotower.index.storage import Index
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.towers.pre_ranker import Combination, Member, PreRanker
from tfrs_twotower.towers.protocol import TowerPair
from tfrs_twotower.towers.tower import PairScorer, TowerOutput

NUMBER = "number"
"""The one feature of a query, and of a candidate: which one it is."""


@dataclass(frozen=True)
class Own:
    """What an index of the project is made from."""

    kind: Kind
    arrays: dict[str, npt.NDArray[Any]] | None = None
    parameters: SearchParameters | None = None
    int8: bool = False

    def index(self, world: World) -> Index:
        """The index of the world's candidates."""
        count = len(world.vectors)
        ids = np.array([f"c{row:07d}" for row in range(count)], object)
        corpus = Corpus(ids, np.full(count, "", object), {}, world.vectors)
        return Index(corpus, self.kind, self.arrays, self.parameters, self.int8)


class Heads(NamedTuple):
    """How candidate heads are stored and compared."""

    storage: HeadStorage = "float32"
    fused: bool = False

    @classmethod
    def of(cls, system: str) -> "Heads":
        """Those of a system's name, such as `ivf, fused int8 heads`."""
        return cls("int8" if "int8 heads" in system else "float32", "fused" in system)

    def bytes(self, world: World) -> int:
        """What the entries of all candidates take."""
        return world.candidate_heads.nbytes // (4 if self.storage == "int8" else 1)


class LookupTower(tf.Module):
    """Finished embeddings and heads by number, so that only what follows a tower is measured."""

    def __init__(self, vectors: Floats, heads: Floats) -> None:
        super().__init__(name="lookup_tower")
        self._vectors = tf.Variable(vectors, trainable=False)
        self._heads = tf.Variable(heads, trainable=False)

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.gather(self._vectors.read_value(), tf.cast(raw[NUMBER], tf.int32))

    def inputs(self, raw: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        return raw

    def encode(self, raw: Mapping[str, tf.Tensor]) -> TowerOutput:
        heads = tf.gather(self._heads.read_value(), tf.cast(raw[NUMBER], tf.int32))
        return TowerOutput(self(raw), heads=heads)


def pre_ranker(world: World, depth: int) -> PreRanker:
    """One member of `NUM_HEADS` query and candidate heads, and a number for each candidate."""
    tower = LookupTower(world.queries, world.query_heads)
    towers: Any = SimpleNamespace(query=tower, scorer=PairScorer(WeightMaker(0)))
    member = Member(towers, tf.constant(world.candidate_heads))
    weights = (world.retrieval_weight, world.interaction_weight, 1.0)
    combination = Combination(depth, ("retrieval", "interaction_0", "own"), weights)
    return PreRanker((member,), combination, tf.constant(world.constants[:, None]))


def rows_of(ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Rows of ids; -1 of none."""
    return np.array([[int(one[1:] or b"-1") for one in line] for line in ids], np.int64)


def release_of(name: str, world: World, own: Own, heads: Heads, *, depth: int, k: int) -> Release:
    """What the bundle of a cascade is made from."""
    taken = {NUMBER: tf.TensorSpec([None], tf.float32, name=NUMBER)}
    towers = TowerPair(
        LookupTower(world.queries, world.query_heads),
        LookupTower(world.vectors[:1], world.candidate_heads[:1]),
        query_inputs=taken,
        candidate_inputs=taken,
    )
    export = ExportConfig(
        k=k,
        max_excluded=1000,
        allowed_batch_sizes=(1, 32),
        keep_versions=1,
        candidate_heads=heads.storage,
        fused_ops=heads.fused,
    )
    return Release(
        ReleaseSettings(name=name, exact=False, export=export, index=IndexConfig()),
        towers,
        own.index(world),
        world.queries[:0],
        Lineage("0" * 16, "0" * 16, {"model": "0" * 16, "index": "0" * 16}),
        pre_ranker(world, depth),
    )


def bytes_of(search: tf.Module) -> int:
    """What a search keeps in memory."""
    return sum(int(np.prod(one.shape)) * one.dtype.size for one in search.variables)
