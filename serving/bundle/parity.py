"""Checks that a bundle returns the vectors and the lists that were computed offline."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.bundle.loading import LoadedModel
from serving.graph import names, pre_ranking
from serving.graph.release import Release
from tfrs_twotower.errors import BundleError
from tfrs_twotower.index import lexical

TOLERANCE = 1e-5
RawArrays = Mapping[str, npt.NDArray[Any]]
Pools = list[dict[bytes, float]]
"""For each query, final scores of its retrieved candidates by id."""


def check_embeddings(
    model: LoadedModel,
    signature: str,
    raw: Mapping[str, npt.NDArray[Any]],
    expected: npt.NDArray[np.float32],
) -> float:
    """Compares a signature's embeddings with offline ones.

    Args:
        model: the saved model of a bundle.
        signature: `query_embedding` or `candidate_embedding`.
        raw: raw features of some rows.
        expected: `[num_rows, embedding_dim]` of the same rows.

    Returns:
        The largest absolute difference.

    Raises:
        BundleError: the difference is above `TOLERANCE`.
    """
    served = model.call(signature, raw)[names.EMBEDDING]
    worst = float(np.max(np.abs(served - expected))) if served.shape == expected.shape else np.inf
    if not worst <= TOLERANCE:
        raise BundleError(
            f"{model.directory}: {signature} differs from the offline embeddings by {worst:.2e} "
            f"(allowed {TOLERANCE:.0e}, {len(expected)} rows): model, embeddings and bundle do not "
            "belong together. Run embed, build-index and export again."
        )
    return worst


def check_lists(model: LoadedModel, raw: RawArrays, release: Release) -> float:
    """Compares the answers to some queries with `Search.search` and `PreRanker.scores`.

    Args:
        model: the saved model of a bundle.
        raw: raw features of the queries.
        release: what it was made from.

    Returns:
        The largest difference of a score, relative to the largest score if that is above 1.

    Raises:
        BundleError: it is above the tolerance, or a list holds other candidates.
    """
    served = model.ask(names.SERVING_DEFAULT, raw)
    k = served[names.SCORES].shape[1]
    pools = _pools(model, raw, release, k)
    lists = [
        {name: float(score) for name, score in zip(ids, scores, strict=True) if name}
        for ids, scores in zip(served[names.CANDIDATE_IDS], served[names.SCORES], strict=True)
    ]
    largest = max((abs(score) for answer in lists for score in answer.values()), default=0.0)
    differences = [_difference(*pair, k) for pair in zip(lists, pools, strict=True)]
    if release.pre_ranker is not None:
        ids = served[names.CANDIDATE_IDS]
        again = model.ask(names.PRE_RANKING, {**raw, names.CANDIDATE_IDS: ids})[names.SCORES]
        differences.append(float(np.max(np.abs(again - served[names.SCORES]), initial=0.0)))
    worst = max(differences, default=0.0) / max(1.0, largest)
    if not worst <= TOLERANCE:
        raise BundleError(
            f"{model.directory}: its answers differ from those of index"
            f"{' and pre_ranker' if release.pre_ranker is not None else ''} by {worst:.2e} "
            f"(allowed {TOLERANCE:.0e}, {len(lists)} queries): model, index, pre_ranker and bundle "
            "do not belong together. Run build-index, train-pre-ranker and export again."
        )
    return worst


def _pools(model: LoadedModel, raw: RawArrays, release: Release, k: int) -> Pools:
    search, pre_ranker = release.search(), release.pre_ranker
    depth = k if pre_ranker is None else max(k, pre_ranker.combination.num_candidates)
    depth = min(depth, search.num_candidates)
    ask = tf.function(
        lambda embeddings, raw: search.search(lexical.asked(search, embeddings, raw), depth),
        autograph=False,
    )
    embeddings = model.ask(names.QUERY_EMBEDDING, raw)[names.EMBEDDING]
    inputs = {name: tf.constant(values) for name, values in raw.items()}
    scores, rows = (part.numpy() for part in ask(tf.constant(embeddings), inputs))
    if pre_ranker is not None:
        present, places = np.unique(np.maximum(rows, 0), return_inverse=True)
        heads_kept_as = release.settings.export.candidate_heads
        small = pre_ranking.as_kept(
            pre_ranking.select_candidates(pre_ranker, present), heads_kept_as
        )
        local = np.where(rows < 0, rows, places.reshape(rows.shape)).astype(np.int32)
        heads = small.query_heads(inputs)
        scores = small.scores(heads, tf.constant(local), tf.constant(scores)).numpy()
    ids = release.corpus.ids
    return [
        {
            ids[row].encode(): float(score)
            for row, score in zip(own_rows, own_scores, strict=True)
            if row >= 0
        }
        for own_rows, own_scores in zip(rows, scores, strict=True)
    ]


def _difference(answer: dict[bytes, float], pool: dict[bytes, float], k: int) -> float:
    """The largest error of a score; infinite if the answer is too short or has a wrong candidate.

    Candidates with equal scores may be in either order.
    """
    best = sorted(pool.values(), reverse=True)[:k]
    if len(answer) != len(best) or not answer.keys() <= pool.keys():
        return np.inf
    return max(
        (
            max(abs(score - pool[name]), abs(score - expected))
            for (name, score), expected in zip(answer.items(), best, strict=True)
        ),
        default=0.0,
    )
