"""Evaluated queries: their features at the cut-off, relevant candidates and seen candidates."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.artifacts.layout import TEST_GLOB, VALIDATION_GLOB
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.raw_inputs import pad_raw, parse_spec, read_records
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.specs import FeatureSpec

_BATCH_SIZE = 4096
_GLOBS = {"validation": VALIDATION_GLOB, "test": TEST_GLOB}
_BOOKKEEPING: dict[str, Any] = {
    "_query_id": tf.io.FixedLenFeature([], tf.string),
    "_timestamp": tf.io.FixedLenFeature([], tf.int64),
    "_num_events": tf.io.FixedLenFeature([], tf.int64),
    "_relevant": tf.io.RaggedFeature(tf.string),
    "_gain": tf.io.RaggedFeature(tf.float32),
    "_seen": tf.io.RaggedFeature(tf.string),
}


@dataclass(frozen=True)
class EvaluationQueries:
    """Queries of one split, sorted by the bytes of their ids."""

    query_ids: npt.NDArray[np.object_]
    """`[num_queries]` bytes."""
    raw: dict[str, npt.NDArray[Any]]
    """Raw features at the split's cut-off, `[num_queries]` or `[num_queries, width]`."""
    relevant: list[npt.NDArray[np.int32]]
    """Corpus rows of each query's relevant candidates."""
    gains: list[npt.NDArray[np.float32]]
    """Gain of each relevant candidate, aligned with `relevant`."""
    seen: list[npt.NDArray[np.int32]]
    """Corpus rows of seen candidates, which the ranking leaves out."""
    num_events: npt.NDArray[np.int64]
    """`[num_queries]`: number of earlier events of the query."""
    timestamps: npt.NDArray[np.int64]
    """`[num_queries]`: the cut-off, in seconds."""

    def __len__(self) -> int:
        return len(self.query_ids)


def load_evaluation_queries(
    preprocessed_dir: Path, split: Literal["validation", "test"], spec: FeatureSpec, corpus: Corpus
) -> EvaluationQueries:
    """Reads the queries of one split.

    Raises:
        MissingArtifact: there are no shards of the split.
        CorruptArtifact: there is no query, a relevant candidate is not in the corpus, a query has
            no relevant candidate, or has another number of gains.
    """
    features = spec.query.features
    parse = parse_spec(features) | _BOOKKEEPING
    columns: dict[str, list[npt.NDArray[Any]]] = {feature.name: [] for feature in features}
    query_ids, timestamps, num_events = [], [], []
    lists: dict[str, list[npt.NDArray[Any]]] = {"_relevant": [], "_gain": [], "_seen": []}
    for serialized in read_records(preprocessed_dir, _GLOBS[split]).batch(_BATCH_SIZE):
        parsed = tf.io.parse_example(serialized, parse)
        for name, value in pad_raw(parsed, features).items():
            columns[name].append(value.numpy())
        query_ids.append(parsed["_query_id"].numpy())
        timestamps.append(parsed["_timestamp"].numpy())
        num_events.append(parsed["_num_events"].numpy())
        for name, rows in lists.items():
            rows.extend(np.split(parsed[name].values.numpy(), parsed[name].row_splits[1:-1]))
    if not query_ids:
        raise CorruptArtifact(
            f"{preprocessed_dir}: there is no query in the {split} split. Run preprocess again."
        )
    ids = np.concatenate(query_ids)
    order = np.argsort(ids, kind="stable")
    queries = EvaluationQueries(
        query_ids=ids[order],
        raw={name: np.concatenate(parts)[order] for name, parts in columns.items()},
        relevant=[corpus.row_of(lists["_relevant"][i]) for i in order],
        gains=[lists["_gain"][i] for i in order],
        seen=[rows[rows >= 0] for rows in (corpus.row_of(lists["_seen"][i]) for i in order)],
        num_events=np.concatenate(num_events)[order],
        timestamps=np.concatenate(timestamps)[order],
    )
    _check(queries, f"{preprocessed_dir}, {split} split")
    return queries


def _check(queries: EvaluationQueries, where: str) -> None:
    for query_id, relevant, gains in zip(
        queries.query_ids, queries.relevant, queries.gains, strict=True
    ):
        if len(relevant) == 0 or len(relevant) != len(gains) or (relevant < 0).any():
            raise CorruptArtifact(
                f"{where}: the query {query_id.decode(errors='replace')!r} has {len(relevant)} "
                f"relevant candidates ({int((relevant < 0).sum())} of them not in the corpus) and "
                f"{len(gains)} gains; it must have one or more in the corpus, each with a gain. "
                "Run preprocess again."
            )
