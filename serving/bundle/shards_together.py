"""All shards of a version as the one that a client sees: their lists merged by score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.bundle import loading, versions
from serving.graph import names
from serving.graph.model import ServingModel
from serving.graph.release import Release
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.postings import as_shards
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import BundleError
from tfrs_twotower.index.sweep import MeasuredQueries
from tfrs_twotower.ranking import MISSING_ROW, FloatArray, RowArray, overlaps

AGAINST_UNSHARDED = "against_unsharded"
"""Key of a manifest's details for how the merged lists differ from those of one bundle."""
_QUERIES_AT_ONCE = 64


@dataclass(frozen=True)
class ShardModels:
    """The models of all shards, asked together, as `ShardedClient` asks them."""

    models: Sequence[loading.LoadedModel]

    @property
    def model(self) -> Any:
        """A loaded SavedModel, whose signatures all shards have."""
        return self.models[0].model

    def ask(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Merged lists of a signature that gives lists; see `LoadedModel.ask`.

        They are as long as the shortest list of a shard, which is the most that a client may ask
        for.
        """
        answers = [model.ask(signature, inputs) for model in self.models]
        lists = [answer[names.CANDIDATE_IDS] for answer in answers]
        k = min(ids.shape[1] for ids in lists)
        ids, scores = versions.merge_lists(lists, [answer[names.SCORES] for answer in answers], k)
        return {names.CANDIDATE_IDS: ids, names.SCORES: scores}

    def call(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """The outputs of a signature that all shards answer alike, such as `query_embedding`."""
        return self.models[0].call(signature, inputs)


@dataclass(frozen=True)
class ShardReleases:
    """The releases of all shards as one release that can only be searched."""

    releases: Sequence[Release]

    @property
    def queries(self) -> FloatArray:
        """`[n, embedding_dim]` embeddings that every shard's index is measured on."""
        return self.releases[0].queries

    @property
    def measured_on(self) -> MeasuredQueries:
        """See `Release.measured_on`; it is the same of every shard."""
        return self.releases[0].measured_on

    @property
    def k(self) -> int:
        """Length of merged lists."""
        return min(release.k for release in self.releases)

    @cached_property
    def corpus(self) -> Corpus:
        """The candidates of all shards, with vectors, in the order of a whole corpus."""
        ids = np.concatenate([release.corpus.ids for release in self.releases])
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
        titles = np.concatenate([release.corpus.titles for release in self.releases])
        vectors = np.concatenate([release.corpus.vectors for release in self.releases])
        return Corpus(ids[order], titles[order], {}, vectors[order])

    @property
    def searches_words(self) -> bool:
        """See `Release.searches_words`."""
        return self.releases[0].searches_words

    def search_of_vectors(self) -> "MergedSearch":
        """The searchers of all shards."""
        return MergedSearch(self)


def with_joint_statistics(releases: Sequence[Release]) -> list[Release]:
    """The releases of all shards, whose words are as rare as they are in all of them together.

    A release of a whole corpus, or without a search of words, stays as it is.

    Raises:
        BundleError: a shard is missing.
    """
    words = [release.index.lexical for release in releases if release.index.lexical is not None]
    settings = releases[0].settings
    if settings.shard is None or not words:
        return list(releases)
    if len(releases) < settings.export.shards:
        raise BundleError(
            f"{settings.name}: found {len(releases)} of {settings.export.shards} shards, but how "
            "rare a word is follows from the texts of all of them. Refresh all shards in one call; "
            "`twotower refresh` with the name of the bundle without -shard-... does."
        )
    postings = as_shards([one.postings for one in words])
    return [
        replace(release, index=replace(release.index, lexical=one.with_postings(own)))
        for release, one, own in zip(releases, words, postings, strict=True)
    ]


class MergedSearch:
    """Searches every shard and merges the lists."""

    def __init__(self, shards: ShardReleases) -> None:
        """Loads the searcher of every shard."""
        self._searches = [release.search_of_vectors() for release in shards.releases]
        self._rows = [shards.corpus.row_of(release.corpus.ids) for release in shards.releases]

    def search(self, embeddings: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows of the whole corpus, each `[batch, k]`; see `Search.search`."""
        all_scores, all_rows = [], []
        for search, whole_rows in zip(self._searches, self._rows, strict=True):
            scores, rows = search.search(embeddings, k)
            all_scores.append(scores)
            there = tf.gather(whole_rows, tf.maximum(rows, 0))
            all_rows.append(tf.where(rows == MISSING_ROW, tf.cast(MISSING_ROW, there.dtype), there))
        scores, rows = tf.concat(all_scores, axis=1), tf.concat(all_rows, axis=1)
        # Rows ascend like ids, so that equal scores are in the order of a client's merged lists.
        by_row = tf.argsort(rows, stable=True)
        scores, rows = (tf.gather(part, by_row, batch_dims=1) for part in (scores, rows))
        best = tf.argsort(scores, direction="DESCENDING", stable=True)[:, :k]
        return tuple(tf.gather(part, best, batch_dims=1) for part in (scores, rows))


def compare_with_unsharded(
    models: ShardModels, whole: Release, queries: QuerySet, *, judge: bool
) -> dict[str, float | int]:
    """How the lists that a client merges differ from those of one bundle of the whole corpus.

    Every shard re-scores the best of its own candidates, so that more are re-scored in all, and a
    merged list may be another one, better or worse.

    Args:
        models: the saved models of all shards.
        whole: the release that the shards were made from.
        queries: whose rows are those of the whole corpus, at least one.
        judge: whether to measure recall; not on queries whose answers the model has learned.

    Returns:
        `k`: length of the lists; `overlap`: the mean share of an unsharded list that is in the
        merged one; `equal_lists`: the number of equal lists, of `queries`; and, where they are
        judged, `unsharded_recall`: the recall@k of the unsharded lists.
    """
    functions = SimpleNamespace(signatures=ServingModel(whole, "unsharded").signatures())
    unsharded = loading.LoadedModel(Path("unsharded"), functions)
    merged: list[RowArray] = []
    expected: list[RowArray] = []
    shares: list[npt.NDArray[np.float64]] = []
    recalls: list[float] = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = queries.take(np.arange(start, min(start + _QUERIES_AT_ONCE, len(queries))))
        seen = [whole.corpus.ids[part.seen[row]].tolist() for row in range(len(part))]
        asked = {**part.inputs, names.EXCLUDE_IDS: loading.excluded(seen)}
        given = models.ask(names.SERVING_DEFAULT, asked)
        wanted = unsharded.ask(names.SERVING_DEFAULT, asked)
        merged.append(loading.answered_rows(given, whole.corpus))
        k = merged[-1].shape[1]
        expected.append(loading.answered_rows(wanted, whole.corpus)[:, :k])
        # By id: a merged list that is better than the unsharded one is another list too.
        by_id = np.full(merged[-1].shape, -np.inf)
        shares.append(overlaps(merged[-1], by_id, expected[-1], wanted[names.SCORES][:, :k]))
        recalls += [
            float(np.isin(part.truth.relevant[row], answered).mean())
            for row, answered in enumerate(expected[-1])
        ]
    ours, theirs = np.concatenate(merged), np.concatenate(expected)
    return {
        "k": ours.shape[1],
        "overlap": round(float(np.concatenate(shares).mean()), 6),
        "equal_lists": int((ours == theirs).all(axis=1).sum()),
        "queries": len(queries),
        **({"unsharded_recall": round(float(np.mean(recalls)), 6)} if judge else {}),
    }
