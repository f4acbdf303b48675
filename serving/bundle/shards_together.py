"""All shards of a version as the one that a client sees: their lists merged by score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.bundle import loading, versions
from serving.graph import signatures as names
from serving.graph.model import ServingModel
from serving.graph.release import Release
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.ranking import MISSING_ROW, FloatArray, RowArray, mean_overlap

AGAINST_UNSHARDED = "against_unsharded"
"""Key of a manifest's details for how the merged lists differ from those of one bundle."""
_QUERIES_AT_ONCE = 64


@dataclass(frozen=True)
class ShardModels:
    """The models of all shards, asked together, as `ShardedClient` asks them."""

    models: Sequence[loading.LoadedModel]

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

    def search(self) -> "MergedSearch":
        """The searchers of all shards."""
        return MergedSearch(self)


class MergedSearch:
    """Searches every shard and merges the lists."""

    def __init__(self, shards: ShardReleases) -> None:
        """Loads the searcher of every shard."""
        self._searches = [release.search() for release in shards.releases]
        self._rows = [shards.corpus.row_of(release.corpus.ids) for release in shards.releases]

    def search(self, embeddings: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows of the whole corpus, each `[batch, k]`; see `Search.search`."""
        all_scores, all_rows = [], []
        for search, whole_rows in zip(self._searches, self._rows, strict=True):
            scores, rows = (part.numpy() for part in search.search(embeddings, k))
            all_scores.append(scores)
            all_rows.append(np.where(rows == MISSING_ROW, MISSING_ROW, whole_rows[rows]))
        scores, rows = np.concatenate(all_scores, axis=1), np.concatenate(all_rows, axis=1)
        # Rows ascend like ids, so that equal scores are in the order of a client's merged lists.
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        return (
            tf.constant(np.take_along_axis(scores, order, axis=1)),
            tf.constant(np.take_along_axis(rows, order, axis=1)),
        )


def compare_with_unsharded(
    models: ShardModels, whole: Release, queries: QuerySet
) -> dict[str, float | int]:
    """How the lists that a client merges differ from those of one bundle of the whole corpus.

    Every shard re-scores the best of its own candidates, so that more are re-scored in all, and a
    merged list may be another one, better or worse.

    Args:
        models: the saved models of all shards.
        whole: the release that the shards were made from.
        queries: whose rows are those of the whole corpus, at least one.

    Returns:
        `k`: length of the lists; `overlap`: the mean share of an unsharded list that is in the
        merged one; `equal_lists`: the number of equal lists, of `queries`; `unsharded_recall`: the
        recall@k of the unsharded lists.
    """
    functions = SimpleNamespace(signatures=ServingModel(whole, "unsharded").signatures())
    unsharded = loading.LoadedModel(Path("unsharded"), functions)
    merged: list[RowArray] = []
    expected: list[RowArray] = []
    recalls: list[float] = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = queries.take(np.arange(start, min(start + _QUERIES_AT_ONCE, len(queries))))
        excluded = [["", *whole.corpus.ids[part.seen[row]].tolist()] for row in range(len(part))]
        width = max(map(len, excluded))
        padded = np.array([row + [""] * (width - len(row)) for row in excluded], object)
        asked = {**part.inputs, names.EXCLUDE_IDS: padded}
        merged.append(_rows(models.ask(names.SERVING_DEFAULT, asked), whole.corpus))
        lists = _rows(unsharded.ask(names.SERVING_DEFAULT, asked), whole.corpus)
        expected.append(lists[:, : merged[-1].shape[1]])
        recalls += [
            float(np.isin(part.truth.relevant[row], answered).mean())
            for row, answered in enumerate(expected[-1])
        ]
    ours, theirs = np.concatenate(merged), np.concatenate(expected)
    return {
        "k": ours.shape[1],
        "overlap": round(mean_overlap(ours, theirs), 6),
        "equal_lists": int((ours == theirs).all(axis=1).sum()),
        "queries": len(queries),
        "unsharded_recall": round(float(np.mean(recalls)), 6),
    }


def _rows(answer: Mapping[str, npt.NDArray[Any]], corpus: Corpus) -> RowArray:
    ids = answer[names.CANDIDATE_IDS]
    return corpus.row_of(ids.ravel()).reshape(ids.shape).astype(np.int64)
