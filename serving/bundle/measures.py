"""What is measured of a version: its answers, asked for as a client would, and its memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle.loading import LoadedModel, load_bundle
from serving.bundle.versions import SAVED_MODEL_NAME
from serving.graph import signatures as names
from tfrs_twotower.ranking.exact import FloatArray, exact_top_k

_QUERIES_AT_ONCE = 64
IdArray = npt.NDArray[np.object_]
_LOADED_DIRECTORIES = ("variables", "assets")
# TensorFlow Serving's own estimate of a model's memory is the bytes of its files times this.
_MEMORY_OF_A_BYTE = 1.2


@dataclass(frozen=True)
class MeasuredQueries:
    """Queries with known answers; bytes ids."""

    raw: dict[str, npt.NDArray[Any]]
    """Raw features, `[num_queries]` or `[num_queries, width]`."""
    relevant: list[IdArray]
    """Of each query, at least one."""
    seen: list[IdArray]
    """Of each query: what its answer leaves out."""

    def __len__(self) -> int:
        return len(self.relevant)

    def of_corpus(self, candidate_ids: Sequence[str]) -> "MeasuredQueries":
        """Those that have a relevant candidate in a part of the corpus, with these candidates."""
        known = {name.encode() for name in candidate_ids}
        relevant = [[name for name in ids.tolist() if name in known] for ids in self.relevant]
        chosen = [query for query, ids in enumerate(relevant) if ids]
        return MeasuredQueries(
            {name: values[chosen] for name, values in self.raw.items()},
            [np.array(relevant[query], object) for query in chosen],
            [self.seen[query] for query in chosen],
        )


def measure_model(
    model: LoadedModel, queries: MeasuredQueries, candidate_ids: Sequence[str], vectors: FloatArray
) -> dict[str, float]:
    """Recall and coverage of the cascade, and overlap of candidate generation with exact search.

    Args:
        model: the saved model.
        queries: those with no relevant candidate in the corpus are left out, which matters to a
            shard; without any there are no measures.
        candidate_ids: of the corpus, or of the shard, in row order.
        vectors: `[num_candidates, embedding_dim]`, in row order.

    Returns:
        `recall@k`: the mean share of a query's relevant candidates that is answered;
        `overlap@k`: the mean share of the exact answer that retrieval gives, nothing left out;
        `coverage@k`: the share of the corpus that is in any answer; `retrieval_coverage@k`: the
        same of retrieval, nothing left out; k is the answers' length.
    """
    queries = queries.of_corpus(candidate_ids)
    if not len(queries):
        return {}
    rows = {name.encode(): row for row, name in enumerate(candidate_ids)}
    recalls: list[float] = []
    overlaps: list[float] = []
    answered: set[bytes] = set()
    retrieved: set[bytes] = set()
    k = 0
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        raw = {name: values[part] for name, values in queries.raw.items()}
        inputs = {**raw, names.EXCLUDE_IDS: _padded(queries.seen[part])}
        lists = model.ask(names.SERVING_DEFAULT, inputs)[names.CANDIDATE_IDS]
        k = lists.shape[1]
        for found, relevant in zip(lists.tolist(), queries.relevant[part], strict=True):
            recalls.append(len(set(relevant).intersection(found)) / len(set(relevant)))
            answered.update(found)
        nearest = model.ask(names.CANDIDATE_GENERATION, raw)[names.CANDIDATE_IDS]
        embeddings = model.call(names.QUERY_EMBEDDING, raw)[names.EMBEDDING]
        exact = exact_top_k(embeddings, vectors, min(k, len(vectors)))[1]
        for found, wanted in zip(nearest.tolist(), exact, strict=True):
            own = [rows[name] for name in found if name]
            overlaps.append(float(np.isin(wanted, own).mean()))
            retrieved.update(found)
    return {
        f"recall@{k}": _rounded(np.mean(recalls)),
        f"overlap@{k}": _rounded(np.mean(overlaps)),
        f"coverage@{k}": _rounded(len(answered - {b""}) / len(rows)),
        f"retrieval_coverage@{k}": _rounded(len(retrieved - {b""}) / len(rows)),
    }


def _padded(lists: list[IdArray]) -> IdArray:
    """`[num_queries, 1 + longest]`, column 0 b""."""
    found = np.full((len(lists), 1 + max(map(len, lists))), b"", object)
    for row, ids in enumerate(lists):
        found[row, 1 : 1 + len(ids)] = ids
    return found


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 6)


def bundle_agreement(
    bundle: Path, reference: Path, queries: Mapping[str, npt.NDArray[Any]]
) -> float:
    """Mean share of the reference's candidates that the bundle returns too: overlap@k.

    Args:
        bundle: directory of a bundle, or of one version.
        reference: the bundle to agree with.
        queries: raw query features, `[num_queries]` or `[num_queries, width]`, at least one.
    """
    ours, theirs = (_candidate_ids(path, queries) for path in (bundle, reference))
    shares = []
    for found, wanted in zip(ours, theirs, strict=True):
        expected = set(wanted.tolist()) - {b""}
        if expected:
            shares.append(len(expected.intersection(found.tolist())) / len(expected))
    return float(np.mean(shares)) if shares else 1.0


def _candidate_ids(path: Path, queries: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.object_]:
    bundle = load_bundle(path)
    count = len(next(iter(queries.values())))
    parts = []
    for start in range(0, count, _QUERIES_AT_ONCE):
        batch = {name: values[start : start + _QUERIES_AT_ONCE] for name, values in queries.items()}
        parts.append(bundle.ask(names.SERVING_DEFAULT, batch)[names.CANDIDATE_IDS])
    return np.concatenate(parts)


def model_bytes(version_dir: Path) -> int:
    """Bytes of the files that a server loads: graph, variables, assets.

    What lies beside them (titles, warm-up requests, `refresh/`) is not loaded; TensorFlow Serving
    counts it all the same where `--total_model_memory_limit_bytes` is set.
    """
    loaded = [version_dir / SAVED_MODEL_NAME]
    for name in _LOADED_DIRECTORIES:
        loaded += (version_dir / name).rglob("*")
    return sum(path.stat().st_size for path in loaded if path.is_file())


def memory_estimate(new_dir: Path, old_dir: Path | None) -> dict[str, int]:
    """Memory of a version, and of a server while it swaps, when both versions are loaded.

    Args:
        new_dir: of the version.
        old_dir: of the version that it follows; without one, two as large as the new one.

    Returns:
        `version_bytes` and `swap_bytes`, estimates.
    """
    new = model_bytes(new_dir)
    old = new if old_dir is None else model_bytes(old_dir)
    return {
        "version_bytes": round(_MEMORY_OF_A_BYTE * new),
        "swap_bytes": round(_MEMORY_OF_A_BYTE * (old + new)),
    }
