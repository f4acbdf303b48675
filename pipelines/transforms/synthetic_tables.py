"""Planted tables of any size: interactions, queries and candidates of a made-up film shop.

What is planted: candidates belong to clusters, and their popularity follows Zipf's law. A query
prefers one cluster and at some time changes to another, so its latest choices say most about its
next. One choice in five comes from the whole corpus. Titles hold words of the cluster.

Everything follows from the seed and from the number of a query or candidate. So every worker makes
its part without the others, and the files are the same bytes however the runner divides the work.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems
from numpy.typing import NDArray

FROM_OWN_CLUSTER = 0.8
ZIPF_EXPONENT = 0.9
_QUERIES, _CANDIDATES = 0, 1
_START_S = 1_704_067_200  # 2024-01-01
_YEAR_S = 366 * 86_400
_ROWS_PER_FILE = 250_000
_TRIES = 40
_SYLLABLES = ("ba", "do", "fe", "gi", "ka", "lu", "mo", "ne", "pi", "ra", "su", "to", "vi", "ze")
_REGIONS = ("north", "east", "south", "west")


@dataclass(frozen=True)
class World:
    """The size and the seed of a planted data set.

    Attributes:
        interactions: number of events.
        candidates: size of the corpus.
        queries: number of users.
        seed: other seeds give other tables.
    """

    interactions: int
    candidates: int
    queries: int
    seed: int

    @property
    def clusters(self) -> int:
        """Half the root of the number of candidates, from 2 to 200."""
        return min(max(2, round(math.sqrt(self.candidates) / 2)), 200, self.candidates)

    def tables(self) -> list["Part"]:
        """All files of all tables."""
        per_query = max(1, self.interactions // self.queries)
        sizes = {
            "interactions": (self.queries, max(1, _ROWS_PER_FILE // per_query)),
            "users": (self.queries, _ROWS_PER_FILE),
            "items": (self.candidates, _ROWS_PER_FILE),
        }
        return [
            Part(table, number, math.ceil(total / size), start, min(start + size, total))
            for table, (total, size) in sizes.items()
            for number, start in enumerate(range(0, total, size))
        ]

    def table(self, part: "Part") -> pa.Table:
        """The content of a file."""
        numbers = range(part.start, part.stop)
        if part.table == "interactions":
            return self._interactions(numbers)
        return self._users(numbers) if part.table == "users" else self._items(numbers)

    def events_of(self, query: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The popularity ranks of a query's choices, and their times in seconds, ascending."""
        random = np.random.default_rng([self.seed, _QUERIES, query])
        number = self._events_before(query + 1) - self._events_before(query)
        first, second = random.integers(0, self.clusters, 2)
        changes_at = random.random()
        moments = np.sort(random.random(number))
        clusters = np.where(moments < changes_at, first, second)
        ranks = self._draw(clusters, random)
        for _ in range(_TRIES):  # until no candidate occurs twice, where that can be
            _, kept = np.unique(ranks, return_index=True)
            again = np.setdiff1d(np.arange(number), kept)
            if not len(again):
                break
            ranks[again] = self._draw(clusters[again], random)
        return ranks, _START_S + (moments * _YEAR_S).astype(np.int64)

    def cluster_of(self, rank: int) -> int:
        """The cluster of a candidate."""
        return rank % self.clusters

    def candidate_id(self, rank: int) -> str:
        """The id of a candidate, which does not show its popularity."""
        return f"i{_shuffled(rank, self.candidates, self.seed)}"

    def query_id(self, query: int) -> str:
        """The id of a query, which does not show its activity."""
        return f"u{_shuffled(query, self.queries, self.seed)}"

    def _events_before(self, query: int) -> int:
        """Shares of events rise with the number of a query, from .3 to 2.4 times the mean."""
        place = query / self.queries
        return round(self.interactions * (0.3 * place + 0.7 * place**3))

    def _draw(self, clusters: NDArray[np.int64], random: Any) -> NDArray[np.int64]:
        own = random.random(len(clusters)) < FROM_OWN_CLUSTER
        share = random.random(len(clusters))
        in_cluster = (self.candidates - clusters + self.clusters - 1) // self.clusters
        return np.where(
            own,
            _zipf(share, in_cluster) * self.clusters + clusters,
            _zipf(share, np.full_like(clusters, self.candidates)),
        )

    def _interactions(self, queries: range) -> pa.Table:
        ids: list[str] = []
        ranks, times = [], []
        for query in queries:
            own_ranks, own_times = self.events_of(query)
            ids += [self.query_id(query)] * len(own_ranks)
            ranks.append(own_ranks)
            times.append(own_times)
        candidates = [self.candidate_id(rank) for rank in np.concatenate(ranks).tolist()]
        return pa.table({
            "user_id": ids, "item_id": candidates, "timestamp": np.concatenate(times)
        })  # fmt: skip

    def _users(self, queries: range) -> pa.Table:
        regions = [_REGIONS[_hashed(query, self.seed) % len(_REGIONS)] for query in queries]
        return pa.table({"user_id": [self.query_id(query) for query in queries], "region": regions})

    def _items(self, ranks: range) -> pa.Table:
        clusters = [self.cluster_of(rank) for rank in ranks]
        return pa.table(
            {
                "item_id": [self.candidate_id(rank) for rank in ranks],
                "title": [self._title(rank) for rank in ranks],
                "category": [_word(cluster) for cluster in clusters],
                "price": [1.0 + _hashed(rank, self.seed) % 5_000 / 100 for rank in ranks],
            }
        )

    def _title(self, rank: int) -> str:
        random = np.random.default_rng([self.seed, _CANDIDATES, rank])
        own, common = random.integers(0, 12, 2), random.integers(0, 500)
        words = [_word(1_000 + 12 * self.cluster_of(rank) + int(place)) for place in own]
        return " ".join([*words, _word(10_000 + int(common)), self.candidate_id(rank)]).capitalize()


@dataclass(frozen=True)
class Part:
    """One file of a table.

    Attributes:
        table: `interactions`, `users` or `items`.
        number: number of the file.
        count: files of the table.
        start: the first query or candidate in it.
        stop: the one after the last.
    """

    table: str
    number: int
    count: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.table}-{self.number:05d}-of-{self.count:05d}.parquet"


class WriteWorld(beam.PTransform):
    """Writes the tables of a world into a directory; its output is the names of the files."""

    def __init__(self, world: World, directory: str) -> None:
        super().__init__()
        self._world = world
        self._directory = directory

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Distributes the files over the workers."""
        return (
            root
            | beam.Create(self._world.tables(), reshuffle=True)
            | "WriteTable" >> beam.FlatMap(_write, self._world, self._directory)
        )


def _write(part: Part, world: World, directory: str) -> Iterator[str]:
    with FileSystems.create(FileSystems.join(directory, part.name)) as stream:
        pq.write_table(world.table(part), stream, compression="zstd")
    yield part.name


def _zipf(share: NDArray[np.float64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranks below `size` with a probability that falls as rank^-.9, by the inverse of its sum."""
    power = 1.0 - ZIPF_EXPONENT
    reach = (share * ((size + 1.0) ** power - 1.0) + 1.0) ** (1.0 / power)
    return np.minimum(reach.astype(np.int64) - 1, size - 1)


def _shuffled(number: int, size: int, seed: int) -> int:
    """A bijection of the numbers below `size`: n -> a n + b, where a and the size are coprime."""
    factor = 1 + 2 * (size // 3) + _hashed(seed, 1) % max(size // 3, 1)
    while math.gcd(factor, size) != 1:
        factor += 1
    return (factor * number + _hashed(seed, 2)) % size


def _hashed(number: int, seed: int) -> int:
    """A number of 31 bits that is the same on every machine (Fibonacci hashing)."""
    mixed = (number * 0x9E3779B97F4A7C15 + seed * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9 >> 33 & 0x7FFFFFFF


def _word(number: int) -> str:
    """A made-up word; different numbers have different words."""
    syllables = [_SYLLABLES[number % len(_SYLLABLES)]]
    while number := number // len(_SYLLABLES):
        syllables.append(_SYLLABLES[number % len(_SYLLABLES)])
    return "".join(syllables).ljust(4, "x")
