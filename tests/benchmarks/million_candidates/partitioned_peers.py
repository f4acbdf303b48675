"""ScaNN from Python, SVS and RaBitQ: partitions of quantised vectors, as faiss' are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.million_candidates.re_scoring import Rows
from tests.benchmarks.million_candidates.tuning import THREADS, Retriever
from tests.benchmarks.million_candidates.world import Floats
from tfrs_twotower.index.scann_search import avx2_flag

_SOAR = 1.5
_SAMPLE = 250_000
_THRESHOLD = 0.2
_BITS = 7


def leaves_of(vectors: Floats, factor: int) -> int:
    """Partitions: so many times the square root of the corpus, and few of a small one."""
    return max(1, min(round(factor * len(vectors) ** 0.5), len(vectors) // 40))


class _Scann:
    """Efforts are leaves, and candidates that are scored exactly."""

    def __init__(self, searcher: Any) -> None:
        self._searcher = searcher
        self._effort = {"leaves_to_search": 1, "pre_reorder_num_neighbors": 1}
        self._threads = 1

    def set(self, effort: tuple[int, int], threads: int) -> None:
        self._effort = dict(zip(self._effort, effort, strict=True))
        self._threads = threads
        self._searcher.set_num_threads(threads)

    def find(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        if len(queries) == 1:
            rows, scores = self._searcher.search(queries[0], final_num_neighbors=k, **self._effort)
            return rows[None].astype(np.int64), scores[None]
        rows, scores = self._searcher.search_batched_parallel(
            queries,
            final_num_neighbors=k,
            batch_size=-(-len(queries) // self._threads),
            **self._effort,
        )
        return rows.astype(np.int64), scores

    def save(self, path: Path) -> None:
        path.mkdir()
        self._searcher.serialize(str(path))


def build_scann(factor: int, soar: bool) -> Callable[[Floats], Retriever]:
    """A tree of hashed residuals with reordering, with SOAR's second leaf of each vector or not."""

    def build(vectors: Floats) -> Retriever:
        more = {"soar_lambda": _SOAR} if soar else {}
        leaves = leaves_of(vectors, factor)
        builder = _pybind().builder(vectors, 10, "dot_product").set_n_training_threads(THREADS)
        builder = builder.tree(
            num_leaves=leaves, num_leaves_to_search=leaves, training_sample_size=_SAMPLE, **more
        )
        builder = builder.score_ah(2, anisotropic_quantization_threshold=_THRESHOLD)
        return _Scann(builder.reorder(10).build())

    return build


def load_scann(path: Path) -> Retriever:
    """Reads what was saved."""
    return _Scann(_pybind().load_searcher(str(path)))


def _pybind() -> Any:
    """ScaNN's Python module, with its AVX2 kernels (decision 0022)."""
    from scann.scann_ops.py import scann_ops_pybind

    library = Path(scann_ops_pybind.__file__).parents[1] / "cc" / "python" / "scann_pybind.so"
    if (flag := avx2_flag(library)) is not None:
        flag.value = True
    return scann_ops_pybind


class _Svs:
    """Efforts are partitions."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def set(self, effort: int, threads: int) -> None:
        import svs

        self._index.num_threads = threads
        self._index.search_parameters = svs.IVFSearchParameters(n_probes=effort)

    def find(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        rows, scores = self._index.search(queries, k)
        return rows.astype(np.int64), scores

    def save(self, path: Path) -> None:
        self._index.save(str(path / "config"), str(path / "data"))


def build_svs(vectors: Floats) -> Retriever:
    """Partitions of float16: the shorter codes (LVQ) run on processors of its maker alone."""
    import svs

    parameters = svs.IVFBuildParameters(num_centroids=leaves_of(vectors, 2), training_fraction=0.25)
    entries, product = vectors.astype(np.float16), svs.DistanceType.MIP
    clustering = svs.Clustering.build(parameters, entries, product, num_threads=THREADS)
    return _Svs(svs.IVF.assemble_from_clustering(clustering, entries, product, THREADS))


def load_svs(path: Path) -> Retriever:
    """Reads what was saved."""
    import svs

    return _Svs(svs.IVF.load(str(path / "config"), str(path / "data"), svs.DistanceType.MIP))


class _Rabitq:
    """Efforts are partitions."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._effort = self._threads = 1

    def set(self, effort: int, threads: int) -> None:
        self._effort, self._threads = effort, threads

    def find(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        rows, distances = self._index.search(
            queries, k, nprobe=self._effort, num_threads=self._threads
        )
        # The number that stands for nobody is the largest of uint32.
        return rows.astype(np.int32).astype(np.int64), 1.0 - distances

    def save(self, path: Path) -> None:
        self._index.save(str(path))


def build_rabitq(vectors: Floats) -> Retriever:
    """Codes of seven bits a dimension, which need no second pass."""
    import rabitqlib

    leaves, dim = leaves_of(vectors, 2), vectors.shape[1]
    exact = rabitqlib.FinalAssignmentMode.Exact
    means = rabitqlib.RaBitQKMeans(dim, leaves, num_threads=THREADS, final_assignment=exact)
    means.train(vectors)
    index = rabitqlib.IvfIndex(dim, len(vectors), leaves, _BITS, metric="ip")
    index.build(vectors, means.centroids, means.assignments, num_threads=THREADS)
    return _Rabitq(index)


def load_rabitq(path: Path) -> Retriever:
    """Reads what was saved."""
    import rabitqlib

    return _Rabitq(rabitqlib.IvfIndex.load(str(path)))
