"""Measures a version: the quality of its answers, called as a client calls it, and its memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.bundle import loading, versions
from serving.bundle.shards_together import ShardModels, ShardReleases
from serving.graph import names
from serving.graph.release import Release
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.index.lexical import ExactTextLists
from tfrs_twotower.ranking import FloatArray, RowArray, order

_QUERIES_AT_ONCE = 64
_DIGITS = 5
_LOADED_DIRECTORIES = ("variables", "assets")
# TensorFlow Serving estimates a model's memory as the bytes of its files times this factor.
_MEMORY_PER_FILE_BYTE = 1.2


WORST_DECILE = "worst_decile"
"""Key of a manifest's details for the overlap of the worst tenth of the queries, by measure."""
MEASURED_ON = "measured_on"
"""Key for what the measures were taken on, in words, by measure (without its length)."""


@dataclass(frozen=True)
class Measures:
    """The measures of one version."""

    values: dict[str, float]
    """What the release gate compares: `{"overlap@100": 0.99, ...}`."""
    worst_decile: dict[str, float] = field(default_factory=dict)
    """Mean overlap of the tenth of the queries that have the least, by measure; printed only."""

    def __or__(self, other: "Measures") -> "Measures":
        return Measures(self.values | other.values, self.worst_decile | other.worst_decile)

    @classmethod
    def of_overlap(cls, name: str, shares: npt.NDArray[np.float64]) -> "Measures":
        """The overlap of some queries."""
        overlap = order.Overlap.of(shares)
        return cls({name: overlap.mean}, {name: overlap.worst_decile})


@dataclass(frozen=True)
class Twins:
    """Candidates with the same vector: retrieval gives them one score, and lists any of them."""

    group: npt.NDArray[np.int64]
    """`[num_candidates]`: the number of each candidate's group, from 0."""

    @classmethod
    def of(cls, vectors: FloatArray) -> "Twins":
        """Groups equal vectors `[num_candidates, embedding_dim]`, apart from their last digits."""
        rounded = np.ascontiguousarray(np.round(vectors, _DIGITS) + 0.0)
        whole = rounded.view(np.dtype((np.void, rounded.dtype.itemsize * rounded.shape[1])))
        return cls(np.unique(whole.ravel(), return_inverse=True)[1].astype(np.int64))

    def recall(self, relevant: RowArray, listed: RowArray, excluded: RowArray) -> float:
        """The share of the relevant candidates that are listed, in the mean over orders of twins.

        McSherry and Najork (2008): a relevant candidate counts as the share of its twins, itself
        included, that are on the list.

        Args:
            relevant: rows, at least one.
            listed: rows of the answer; -1 is not a row.
            excluded: rows that the answer had to leave out.
        """
        on_list, left_out = self.group[listed[listed != order.MISSING_ROW]], self.group[excluded]
        shares = []
        for own in self.group[relevant]:
            available = self._sizes[own] - int((left_out == own).sum())
            shares.append(int((on_list == own).sum()) / max(1, available))
        return float(np.mean(shares))

    def coverage(self, lists: Sequence[RowArray]) -> float:
        """The groups that are in any list, as a share of all candidates."""
        rows = np.unique(np.concatenate(lists))
        return len(np.unique(self.group[rows[rows != order.MISSING_ROW]])) / len(self.group)

    @cached_property
    def _sizes(self) -> npt.NDArray[np.int64]:
        return np.bincount(self.group)


def measure_model(
    model: loading.LoadedModel | ShardModels,
    queries: QuerySet | None,
    corpus: Corpus,
    lexical: Lexical | None = None,
    *,
    judge: bool = True,
) -> Measures:
    """Asks a model some queries as a client does.

    Args:
        model: the saved model, or those of all shards.
        queries: queries of the same corpus; None or an empty set gives no measures.
        corpus: the corpus of the model, or of all shards, with vectors.
        lexical: the model's search of words, if it has one.
        judge: whether to measure recall; not on queries whose answers the model has learned.

    Returns:
        `recall@k`: the mean share of a query's relevant candidates in its answer; `overlap@k`: the
        mean share of the exact list that retrieval returns, without exclusions; `coverage@k`: the
        share of the corpus in any answer; `retrieval_coverage@k`: the same for retrieval, without
        exclusions. k is the length of the answers. Which of several twins is listed is chance, so
        that it changes no measure; see `Twins`. A pre-ranker may tell them apart, so answers of a
        cascade are compared by id.
    """
    if not queries:
        return Measures({})
    twins = Twins.of(corpus.vectors)
    is_cascade = names.PRE_RANKING in model.model.signatures
    by_id = Twins(np.arange(len(corpus)))
    exact_of_texts = None
    if lexical is not None:
        # Words tell apart what vectors do not.
        twins, exact_of_texts = by_id, ExactTextLists(lexical, corpus.vectors)
    answer_twins = by_id if is_cascade else twins
    recalls: list[float] = []
    answered: list[RowArray] = []
    nearest: list[RowArray] = []
    shares: list[npt.NDArray[np.float64]] = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        raw = {name: values[part] for name, values in queries.inputs.items()}
        places = range(start, min(start + _QUERIES_AT_ONCE, len(queries)))
        seen = [corpus.ids[queries.seen[query]].tolist() for query in places]
        asked = {**raw, names.EXCLUDE_IDS: loading.excluded(seen)}
        lists = loading.answered_rows(model.ask(names.SERVING_DEFAULT, asked), corpus)
        for query, rows in zip(places, lists, strict=True):
            relevant = queries.truth.relevant[query]
            recalls.append(answer_twins.recall(relevant, rows, queries.seen[query]))
        answered.append(lists)
        nearest.append(loading.answered_rows(model.ask(names.CANDIDATE_GENERATION, raw), corpus))
        embeddings = model.call(names.QUERY_EMBEDDING, raw)[names.EMBEDDING]
        if exact_of_texts is not None:
            shares.append(exact_of_texts.overlaps(embeddings, raw, nearest[-1]))
        else:
            exact = order.ExactLists.of(embeddings, corpus.vectors, lists.shape[1])
            shares.append(exact.overlaps(nearest[-1]))
    k = answered[0].shape[1]
    recall = {f"recall@{k}": _rounded(np.mean(recalls))} if judge else {}
    overlap = Measures.of_overlap(f"overlap@{k}", np.concatenate(shares))
    covered = {
        f"coverage@{k}": _rounded(answer_twins.coverage(answered)),
        f"retrieval_coverage@{k}": _rounded(twins.coverage(nearest)),
    }
    return Measures(recall) | overlap | Measures(covered)


def measure_retrieval(release: Release | ShardReleases) -> Measures:
    """Measures what needs no raw queries, on the embeddings that the index was measured on.

    Returns:
        `overlap@k` and `retrieval_coverage@k`, defined as in `measure_model`, and
        `perturbed_overlap@k`, the overlap on perturbed queries. Of an index that searches words,
        only the last: embeddings have no text, and its words are searched exactly.
    """
    queries = release.measured_on.real
    if not len(queries):
        return Measures({})
    if release.searches_words:
        return measure_perturbed(release)
    lists, twins = _search(release, queries), Twins.of(release.corpus.vectors)
    shares = order.ExactLists.of(queries, release.corpus.vectors, release.k).overlaps(lists)
    return (
        Measures.of_overlap(f"overlap@{release.k}", shares)
        | measure_perturbed(release)
        | Measures({f"retrieval_coverage@{release.k}": _rounded(twins.coverage([lists]))})
    )


def measure_perturbed(release: Release | ShardReleases) -> Measures:
    """Measures `perturbed_overlap@k`; empty without queries."""
    perturbed = release.measured_on.perturbed
    if not len(perturbed):
        return Measures({})
    exact = order.ExactLists.of(perturbed, release.corpus.vectors, release.k)
    shares = exact.overlaps(_search(release, perturbed))
    return Measures.of_overlap(f"perturbed_overlap@{release.k}", shares)


def _search(release: Release | ShardReleases, queries: FloatArray) -> RowArray:
    """Rows `[num_queries, k]` that the release's search of vectors returns."""
    search = release.search_of_vectors()
    ask = tf.function(
        lambda embeddings: search.search(embeddings, release.k)[1],
        input_signature=[tf.TensorSpec([None, queries.shape[1]], tf.float32)],
        autograph=False,
    ).get_concrete_function()
    parts = [
        ask(tf.constant(queries[start : start + _QUERIES_AT_ONCE])).numpy()
        for start in range(0, len(queries), _QUERIES_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.int64)


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 6)


def bundle_agreement(
    bundle: Path, reference: Path, queries: Mapping[str, npt.NDArray[Any]]
) -> float:
    """Overlap@k of two bundles: the mean share of the reference's candidates that both return.

    A candidate that ties with the reference's last one counts too; see `ranking.overlaps`.

    Args:
        bundle: directory of a bundle, or of one version.
        reference: the bundle to agree with.
        queries: raw query features, `[num_queries]` or `[num_queries, width]`, at least one.
    """
    ours, theirs = (_answers(path, queries) for path in (bundle, reference))
    return float(order.overlaps(*ours, *theirs).mean())


def _answers(
    path: Path, queries: Mapping[str, npt.NDArray[Any]]
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.float32]]:
    """Ids and scores `[num_queries, k]`; the lowest float32 where there is no candidate."""
    bundle = loading.load_bundle(path)
    count = len(next(iter(queries.values())))
    parts = []
    for start in range(0, count, _QUERIES_AT_ONCE):
        batch = {name: values[start : start + _QUERIES_AT_ONCE] for name, values in queries.items()}
        parts.append(bundle.ask(names.SERVING_DEFAULT, batch))
    ids, scores = (
        np.concatenate([part[name] for part in parts])
        for name in (names.CANDIDATE_IDS, names.SCORES)
    )
    return ids, np.where(ids == b"", np.float32(order.LOWEST_SCORE), scores)


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
