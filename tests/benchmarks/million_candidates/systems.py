"""Every system under one face: numbers of queries in, final rows out."""

import functools
import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serving.bundle.writing import write_bundle
from tests.benchmarks.million_candidates.cascades import Heads, Own, bytes_of, release_of, rows_of
from tests.benchmarks.million_candidates.measuring import Clock
from tests.benchmarks.million_candidates.own_index import OwnIndex, efforts_of, train_own
from tests.benchmarks.million_candidates.peers import PEERS
from tests.benchmarks.million_candidates.re_scoring import ReScore, Rows, compiled, re_score
from tests.benchmarks.million_candidates.served import Served, Threads
from tests.benchmarks.million_candidates.tuning import THREADS, Retriever, overlap, tune
from tests.benchmarks.million_candidates.world import Floats, World
from tfrs_twotower.index.quality import Kind
from tfrs_twotower.index.scann_search import load_scann

Numbers = Rows


class Lists(NamedTuple):
    """Lengths of lists, and what retrieval must reach."""

    depth: int
    """Candidates that are retrieved and re-scored."""
    k: int
    """Candidates that are answered."""
    target: float
    """Least overlap@100 of what was retrieved."""


class Sample(NamedTuple):
    """Queries, and the rows of exact search `[num_queries, LISTED]`."""

    numbers: Numbers
    exact: Rows


@dataclass(frozen=True)
class System:
    """A cascade that can be asked."""

    ask: Callable[[Numbers], Any]
    """One request."""
    rows: Callable[[Numbers], Rows]
    """The same, and the rows `[len(numbers), k]` of its answer."""
    facts: dict[str, Any]
    parts: dict[str, Callable[[Numbers], Any]] = field(default_factory=dict)
    """Of a peer, each alone."""
    in_numpy: Callable[[Numbers], Any] | None = None
    """Of a peer that is re-scored by compiled code, the same request re-scored in NumPy."""
    own: Own | None = None
    heads: Heads = Heads()  # noqa: RUF009  (immutable)


class Bench:
    """Builds, tunes and keeps the systems over one world."""

    def __init__(
        self,
        world: World,
        lists: Lists,
        tuning: Sample,
        measured: Sample,
        workdir: Path,
        threads: Threads,
        clock: Clock,
    ) -> None:
        """Nothing is built yet.

        Args:
            world: what is searched.
            lists: lengths.
            tuning: queries that parameters are chosen on.
            measured: others, that everything is reported on.
            workdir: where indexes and bundles are kept; what lies there is not built again.
            threads: of our sessions.
            clock: what tuning reads costs from.
        """
        self.world, self.lists, self.tuning, self.measured = world, lists, tuning, measured
        self._workdir, self._session_threads, self._clock = workdir, threads, clock
        self._compiled: ReScore | None = None

    def peer(self, name: str) -> System:
        """A library's index, followed by re-scoring: compiled where Numba is, and in NumPy."""
        if self._compiled is None:
            self._compiled = compiled(self.world)
        quickest = self._compiled or functools.partial(re_score, self.world)
        peer = PEERS[name]
        path = self._workdir / name.replace(" ", "_").replace(",", "")
        build_s = self._built(path, lambda: peer.build(self.world.vectors).save(path))
        started = time.perf_counter()
        index = peer.load(path)
        load_s = time.perf_counter() - started
        reached, chosen, threads = self._tuned(index, peer.efforts, sorted({1, THREADS}))

        def retrieve(numbers: Numbers) -> tuple[Rows, Floats]:
            index.set(chosen, threads if len(numbers) == 1 else THREADS)
            return index.find(self.world.queries[numbers], self.lists.depth)

        def ask(numbers: Numbers) -> Rows:
            return quickest(numbers, *retrieve(numbers), self.lists.k)

        def ask_in_numpy(numbers: Numbers) -> Rows:
            return re_score(self.world, numbers, *retrieve(numbers), self.lists.k)

        lists = {number: retrieve(np.array([number])) for number in self.measured.numbers.tolist()}

        def again(numbers: Numbers) -> Rows:
            return quickest(numbers, *lists[int(numbers[0])], self.lists.k)

        facts = {
            "effort": chosen,
            "threads": threads,
            "overlap": reached,
            "build_s": build_s,
            "load_s": load_s,
            "index_mb": sum(of.stat().st_size for of in (path, *path.rglob("*"))) / 1e6,
            "heads_mb": self.world.candidate_heads.nbytes / (4e6 if self._compiled else 1e6),
        }
        parts = {"retrieval": retrieve, "pre-ranking": again}
        return System(ask, ask, facts, parts, ask_in_numpy if self._compiled else None)

    def approximate(self, kind: Kind) -> tuple[Own, dict[str, Any]]:
        """An approximate index of the project, tuned, and what is to be said of it."""
        path, vectors, depth = self._workdir / f"{kind}.npz", self.world.vectors, self.lists.depth
        build_s = self._built(path, lambda: np.savez(path, **train_own(kind, vectors, depth)))
        with np.load(path, allow_pickle=False) as arrays:
            trained = {name: arrays[name] for name in arrays.files}
        index = OwnIndex(kind, vectors, trained, depth)
        reached, chosen, _ = self._tuned(index, efforts_of(kind, trained, depth), (THREADS,))
        own = Own(kind, trained, index.parameters(chosen))
        return own, {"effort": chosen, "overlap": reached, "build_s": build_s}

    def served(self, name: str, own: Own, facts: dict[str, Any]) -> System:
        """An exported cascade, loaded as a server loads it."""
        bundle = self._workdir / name.replace(" ", "_").replace(",", "")
        heads = Heads.of(name)
        started = time.perf_counter()
        release = release_of(
            bundle.name, self.world, own, heads, depth=self.lists.depth, k=self.lists.k
        )
        version = write_bundle(bundle, release).directory
        index_mb = bytes_of(release.search()) / 1e6
        del release
        export_s = time.perf_counter() - started
        if own.kind == "scann":
            load_scann()
        gc.collect()  # what was exported, and its copies
        started = time.perf_counter()
        served = Served(version, self._session_threads)
        served.ask(self.tuning.numbers[:1])
        facts = {
            **facts,
            "load_s": time.perf_counter() - started,
            "export_s": export_s,
            "index_mb": index_mb,
            "heads_mb": heads.bytes(self.world) / 1e6,
        }
        gc.collect()
        return System(
            served.ask,
            lambda numbers: rows_of(served.ask(numbers)),
            facts,
            own=own,
            heads=heads,
        )

    def _tuned(
        self, index: Retriever, efforts: Any, threads: Sequence[int]
    ) -> tuple[float, Any, int]:
        depth, vectors = self.lists.depth, self.world.queries
        tuned = tune(
            index,
            efforts,
            vectors[self.tuning.numbers],
            self.tuning.exact,
            depth=depth,
            target=self.lists.target,
            threads=threads,
            clock=self._clock,
        )
        index.set(tuned.effort, max(threads))
        reached = overlap(index, vectors[self.measured.numbers], self.measured.exact, depth)
        return reached, tuned.effort, tuned.threads

    def _built(self, path: Path, build: Callable[[], None]) -> float:
        """Builds what is not there, and says how long it took when it was built."""
        note = path.with_name(f"{path.name}.seconds.json")
        if not note.exists():
            started = time.perf_counter()
            build()
            note.write_text(json.dumps(time.perf_counter() - started), encoding="utf-8")
        return float(json.loads(note.read_text(encoding="utf-8")))
