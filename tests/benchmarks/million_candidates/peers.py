"""Libraries for nearest neighbours: how each is built, what can be turned, how it is asked."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.million_candidates import partitioned_peers as partitioned
from tests.benchmarks.million_candidates.re_scoring import Rows
from tests.benchmarks.million_candidates.tuning import THREADS, Retriever
from tests.benchmarks.million_candidates.world import Floats

_PROBES = (2, 4, 8, 12, 16, 24, 32, 48, 64, 80, 96, 128)
_EXPANSIONS = (1000, 1400, 2000, 3000)


@dataclass(frozen=True)
class Peer:
    """One kind of index of one library."""

    package: str
    build: Callable[[Floats], Retriever]
    load: Callable[[Path], Retriever]
    efforts: Sequence[Any]
    """What is tried."""

    def installed(self) -> bool:
        """Whether the library is there."""
        return importlib.util.find_spec(self.package) is not None


class _Faiss:
    """Efforts are partitions, and with refinement how many times k is refined (else 0)."""

    def __init__(self, index: Any) -> None:
        import faiss

        self._index, self._faiss = index, faiss
        self._parameters: Any = None
        self._threads = 1

    def set(self, effort: tuple[int, int], threads: int) -> None:
        num_probes, factor = effort
        self._threads = threads
        self._parameters = self._faiss.SearchParametersIVF(nprobe=num_probes)
        if factor:
            self._parameters = self._faiss.IndexRefineSearchParameters(
                k_factor=factor, base_index_params=self._parameters
            )

    def find(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        self._faiss.omp_set_num_threads(self._threads)
        scores, rows = self._index.search(queries, k, params=self._parameters)
        return rows, scores

    def save(self, path: Path) -> None:
        self._faiss.write_index(self._index, str(path))


def _build_faiss(kind: str, factor: int) -> Callable[[Floats], Retriever]:
    def build(vectors: Floats) -> Retriever:
        import faiss

        faiss.omp_set_num_threads(THREADS)
        kind_of_index = kind.format(leaves=partitioned.leaves_of(vectors, factor))
        index = faiss.index_factory(vectors.shape[1], kind_of_index, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        return _Faiss(index)

    return build


def _load_faiss(path: Path) -> Retriever:
    import faiss

    return _Faiss(faiss.read_index(str(path)))


class _Usearch:
    """Efforts are the expansion of the search."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._threads = 1

    def set(self, effort: int, threads: int) -> None:
        self._index.expansion_search = effort
        self._threads = threads

    def find(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        found = self._index.search(queries, k, threads=self._threads)
        shape = (len(queries), k)
        return found.keys.astype(np.int64).reshape(shape), 1.0 - found.distances.reshape(shape)

    def save(self, path: Path) -> None:
        self._index.save(str(path))


def _build_usearch(vectors: Floats) -> Retriever:
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
    index.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=THREADS)
    return _Usearch(index)


def _load_usearch(path: Path) -> Retriever:
    from usearch.index import Index

    return _Usearch(Index.restore(str(path)))


class _Voyager:
    """Efforts are the depth of the search."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._effort, self._threads = 0, 1

    def set(self, effort: int, threads: int) -> None:
        self._effort, self._threads = effort, threads

    def find(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        rows, distances = self._index.query(
            queries, k, num_threads=self._threads, query_ef=max(self._effort, k)
        )
        return rows.astype(np.int64), 1.0 - distances

    def save(self, path: Path) -> None:
        self._index.save(str(path))


def _build_voyager(vectors: Floats) -> Retriever:
    from voyager import Index, Space

    # Of unit vectors the cosine is the inner product; Voyager's InnerProduct adds a dimension.
    index = Index(Space.Cosine, num_dimensions=vectors.shape[1], max_elements=len(vectors))
    index.add_items(vectors, num_threads=THREADS)
    return _Voyager(index)


def _load_voyager(path: Path) -> Retriever:
    from voyager import Index

    return _Voyager(Index.load(str(path)))


_FLAT, _HASHED = "IVF{leaves},Flat", "IVF{leaves},PQ32x4fs,RFlat"
_PLAIN_EFFORTS = [(probes, 0) for probes in _PROBES]
_REFINED_EFFORTS = [(probes, factor) for probes in _PROBES for factor in (1, 2, 4)]
_SCANN_LEAVES = (20, 30, 40, 60, 80, 100, 120, 160, 200)
_SCANN_EFFORTS = [(leaves, depth) for leaves in _SCANN_LEAVES for depth in (1000, 1500, 2000)]


def _scann(factor: int, *, soar: bool) -> Peer:
    build = partitioned.build_scann(factor, soar)
    return Peer("scann", build, partitioned.load_scann, _SCANN_EFFORTS)


PEERS = {
    "faiss IVF-Flat": Peer("faiss", _build_faiss(_FLAT, 1), _load_faiss, _PLAIN_EFFORTS),
    "faiss IVF-Flat, twice the leaves": Peer(
        "faiss", _build_faiss(_FLAT, 2), _load_faiss, _PLAIN_EFFORTS
    ),
    "faiss IVF-PQ": Peer("faiss", _build_faiss(_HASHED, 1), _load_faiss, _REFINED_EFFORTS),
    "faiss IVF-PQ, twice the leaves": Peer(
        "faiss", _build_faiss(_HASHED, 2), _load_faiss, _REFINED_EFFORTS
    ),
    "ScaNN": _scann(2, soar=False),
    "ScaNN, SOAR": _scann(2, soar=True),
    "ScaNN, SOAR, twice the leaves": _scann(4, soar=True),
    "SVS IVF": Peer("svs", partitioned.build_svs, partitioned.load_svs, _PROBES),
    "RaBitQ IVF": Peer("rabitqlib", partitioned.build_rabitq, partitioned.load_rabitq, _PROBES),
    "usearch": Peer("usearch", _build_usearch, _load_usearch, _EXPANSIONS),
    "voyager": Peer("voyager", _build_voyager, _load_voyager, _EXPANSIONS),
}
