"""Measures a version: the quality of its answers, called as a client calls it, and its memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.bundle import loading, versions
from serving.bundle.shards_together import ShardModels, ShardReleases
from serving.graph import signatures as names
from serving.graph.release import Release
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.ranking import MISSING_ROW, RowArray, exact_top_k, mean_overlap

_QUERIES_AT_ONCE = 64
_LOADED_DIRECTORIES = ("variables", "assets")
# TensorFlow Serving estimates a model's memory as the bytes of its files times this factor.
_MEMORY_PER_FILE_BYTE = 1.2


def measure_model(
    model: loading.LoadedModel | ShardModels, queries: QuerySet | None, corpus: Corpus
) -> dict[str, float]:
    """Recall and coverage of the cascade, and overlap of candidate generation with exact search.

    Args:
        model: the saved model, or those of all shards.
        queries: queries of the same corpus; None or an empty set gives no measures.
        corpus: the corpus of the model, or of all shards, with vectors.

    Returns:
        `recall@k`: the mean share of a query's relevant candidates in its answer; `overlap@k`: the
        mean share of the exact list that retrieval returns, without exclusions; `coverage@k`: the
        share of the corpus in any answer; `retrieval_coverage@k`: the same for retrieval, without
        exclusions. k is the length of the answers.
    """
    if not queries:
        return {}
    recalls: list[float] = []
    answered: list[RowArray] = []
    nearest: list[RowArray] = []
    exact: list[RowArray] = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        raw = {name: values[part] for name, values in queries.inputs.items()}
        places = range(start, min(start + _QUERIES_AT_ONCE, len(queries)))
        seen = [corpus.ids[queries.seen[query]].tolist() for query in places]
        lists = _rows(
            model.ask(names.SERVING_DEFAULT, {**raw, names.EXCLUDE_IDS: _padded(seen)}), corpus
        )
        for query, rows in zip(places, lists, strict=True):
            recalls.append(float(np.isin(queries.truth.relevant[query], rows).mean()))
        answered.append(lists)
        nearest.append(_rows(model.ask(names.CANDIDATE_GENERATION, raw), corpus))
        embeddings = model.call(names.QUERY_EMBEDDING, raw)[names.EMBEDDING]
        exact.append(exact_top_k(embeddings, corpus.vectors, lists.shape[1])[1])
    k = answered[0].shape[1]
    return {
        f"recall@{k}": _rounded(np.mean(recalls)),
        f"overlap@{k}": _rounded(mean_overlap(np.concatenate(nearest), np.concatenate(exact))),
        f"coverage@{k}": _coverage(answered, corpus),
        f"retrieval_coverage@{k}": _coverage(nearest, corpus),
    }


def measure_retrieval(release: Release | ShardReleases) -> dict[str, float]:
    """Measures `overlap@k` and `retrieval_coverage@k`, which need no raw queries.

    They are defined as in `measure_model`, on the embeddings that the index was measured on.
    """
    if not len(release.queries):
        return {}
    k, search = release.k, release.search()
    parts = [
        search.search(tf.constant(release.queries[start : start + _QUERIES_AT_ONCE]), k)[1].numpy()
        for start in range(0, len(release.queries), _QUERIES_AT_ONCE)
    ]
    exact = exact_top_k(release.queries, release.corpus.vectors, k)[1]
    return {
        f"overlap@{k}": _rounded(mean_overlap(np.concatenate(parts), exact)),
        f"retrieval_coverage@{k}": _coverage(parts, release.corpus),
    }


def _rows(answer: Mapping[str, npt.NDArray[Any]], corpus: Corpus) -> RowArray:
    """Rows `[batch, k]` of the returned candidates; -1 where there is none."""
    ids = answer[names.CANDIDATE_IDS]
    return corpus.row_of(ids.ravel()).reshape(ids.shape).astype(np.int64)


def _coverage(lists: Sequence[RowArray], corpus: Corpus) -> float:
    """The share of the corpus that is in any list."""
    rows = np.unique(np.concatenate(lists))
    return _rounded(int((rows != MISSING_ROW).sum()) / len(corpus))


def _padded(lists: Sequence[Sequence[str]]) -> npt.NDArray[np.object_]:
    """Lists as one array `[num_queries, 1 + longest]`; column 0 is ""."""
    padded = np.full((len(lists), 1 + max(map(len, lists))), "", object)
    for row, ids in enumerate(lists):
        padded[row, 1 : 1 + len(ids)] = ids
    return padded


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 6)


def bundle_agreement(
    bundle: Path, reference: Path, queries: Mapping[str, npt.NDArray[Any]]
) -> float:
    """Overlap@k of two bundles: the mean share of the reference's candidates that both return.

    Args:
        bundle: directory of a bundle, or of one version.
        reference: the bundle to agree with.
        queries: raw query features, `[num_queries]` or `[num_queries, width]`, at least one.
    """
    ours, theirs = (_candidate_ids(path, queries) for path in (bundle, reference))
    shares = []
    for own, other in zip(ours, theirs, strict=True):
        expected = set(other.tolist()) - {b""}
        if expected:
            shares.append(len(expected.intersection(own.tolist())) / len(expected))
    return float(np.mean(shares)) if shares else 1.0


def _candidate_ids(path: Path, queries: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.object_]:
    bundle = loading.load_bundle(path)
    count = len(next(iter(queries.values())))
    parts = []
    for start in range(0, count, _QUERIES_AT_ONCE):
        batch = {name: values[start : start + _QUERIES_AT_ONCE] for name, values in queries.items()}
        parts.append(bundle.ask(names.SERVING_DEFAULT, batch)[names.CANDIDATE_IDS])
    return np.concatenate(parts)


def model_bytes(version_dir: Path) -> int:
    """Bytes of the files that a server loads: graph, variables, assets.

    Titles, warm-up requests and `refresh/` are not loaded, though TensorFlow Serving counts them
    too if `--total_model_memory_limit_bytes` is set.
    """
    loaded = [version_dir / versions.SAVED_MODEL_NAME]
    for name in _LOADED_DIRECTORIES:
        loaded += (version_dir / name).rglob("*")
    return sum(path.stat().st_size for path in loaded if path.is_file())


def memory_estimate(new_dir: Path, old_dir: Path | None) -> dict[str, int]:
    """Estimates the memory of a version, and of a server while it swaps and holds two versions.

    Args:
        new_dir: directory of the version.
        old_dir: directory of the version before it; None counts the new version twice.

    Returns:
        `version_bytes` and `swap_bytes`.
    """
    new = model_bytes(new_dir)
    old = new if old_dir is None else model_bytes(old_dir)
    return {
        "version_bytes": round(_MEMORY_PER_FILE_BYTE * new),
        "swap_bytes": round(_MEMORY_PER_FILE_BYTE * (old + new)),
    }
