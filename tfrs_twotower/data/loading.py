"""Reads artifacts: the corpus, the evaluated queries of a split, and the embeddings of both."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.artifacts import layout
from tfrs_twotower.data import query_set, raw_inputs
from tfrs_twotower.data.corpus import Corpus, strings
from tfrs_twotower.errors import CorruptArtifact, DataError
from tfrs_twotower.ranking import GroundTruth, Ragged
from tfrs_twotower.specs import Feature, FeatureSpec, TextFeature

_BATCH_SIZE = 4096
EvaluatedSplit = Literal["validation", "test"]
_QUERY_GLOBS: dict[EvaluatedSplit, str] = {
    "validation": layout.VALIDATION_GLOB,
    "test": layout.TEST_GLOB,
}
_BOOKKEEPING: dict[str, Any] = {
    "_query_id": tf.io.FixedLenFeature([], tf.string),
    "_timestamp": tf.io.FixedLenFeature([], tf.int64),
    "_num_events": tf.io.FixedLenFeature([], tf.int64),
    "_relevant": tf.io.RaggedFeature(tf.string),
    "_gain": tf.io.RaggedFeature(tf.float32),
    "_seen": tf.io.RaggedFeature(tf.string),
}


def load_corpus(preprocessed_dir: Path, spec: FeatureSpec) -> Corpus:
    """Reads the corpus of a preprocessed artifact.

    Raises:
        MissingArtifact: there are no corpus shards.
        CorruptArtifact: a candidate occurs twice, or there is none.
    """
    return parse_corpus(
        raw_inputs.read_records(preprocessed_dir, layout.CORPUS_GLOB), spec, preprocessed_dir
    )


def parse_corpus(records: tf.data.Dataset, spec: FeatureSpec, where: Path) -> Corpus:
    """Makes a corpus of serialized candidates.

    Args:
        records: one `tf.train.Example` for each candidate, in any order.
        spec: the feature spec.
        where: where the records came from, for messages.

    Raises:
        CorruptArtifact: a candidate occurs twice, or there is none.
    """
    features = spec.candidate.features
    text = tf.io.FixedLenFeature([], tf.string)
    parse = raw_inputs.parse_spec(features) | {"_candidate_id": text, "_title": text}
    batches = []
    for serialized in records.batch(_BATCH_SIZE):
        parsed = tf.io.parse_example(serialized, parse)
        raw = raw_inputs.pad_raw(parsed, features)
        raw |= {"_candidate_id": parsed["_candidate_id"], "_title": parsed["_title"]}
        batches.append({name: value.numpy() for name, value in raw.items()})
    if not batches:
        raise CorruptArtifact(f"{where}: the corpus is empty. Run preprocess again.")
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    ids, titles = (_decoded(columns.pop(name)) for name in ("_candidate_id", "_title"))
    order, repeated = sorted_ids(pa.array(ids, pa.string()))
    if repeated is not None:
        raise CorruptArtifact(
            f"{where}: the candidate {repeated!r} occurs twice in the corpus. Run preprocess again."
        )
    raw = {name: values[order] for name, values in columns.items()}
    return Corpus(ids[order], titles[order], raw)


def query_order(preprocessed_dir: Path, split: EvaluatedSplit) -> NDArray[np.int64]:
    """The positions of a split's records in the order of their query ids, `[num_queries]`.

    It reads nothing else of them, so that some of many queries can be chosen before they are read.

    Raises:
        MissingArtifact: there are no shards of the split.
    """
    parse = {"_query_id": _BOOKKEEPING["_query_id"]}
    records = raw_inputs.read_records(preprocessed_dir, _QUERY_GLOBS[split]).batch(_BATCH_SIZE)
    ids = [
        pa.array(tf.io.parse_example(serialized, parse)["_query_id"].numpy(), pa.binary())
        for serialized in records
    ]
    order = pc.sort_indices(pa.chunked_array(ids, pa.binary())).to_numpy()
    return np.asarray(order, np.int64)


def load_query_set(
    preprocessed_dir: Path,
    split: EvaluatedSplit,
    spec: FeatureSpec,
    corpus: Corpus,
    records: NDArray[np.integer] | None = None,
) -> query_set.QuerySet:
    """Reads the evaluated queries of one split, sorted by id, with raw features as inputs.

    Args:
        preprocessed_dir: directory of a preprocessed artifact.
        split: the split.
        spec: the feature spec.
        corpus: the artifact's corpus.
        records: positions of the records to read, some of `query_order`; None reads all.

    Raises:
        MissingArtifact: there are no shards of the split.
        CorruptArtifact: a relevant candidate is not in the corpus, or a query has no relevant
            candidate or not one gain for each.
        DataError: there is no query, or a relevant candidate has a gain of 0 or less.
    """
    where = f"{preprocessed_dir}, {split} split"
    features = spec.query.features
    parse = raw_inputs.parse_spec(features) | _BOOKKEEPING
    columns: dict[str, list[NDArray[Any]]] = {feature.name: [] for feature in features}
    query_ids, timestamps, num_events, gains, num_gains = [], [], [], [], []
    named: dict[str, list[pa.Array]] = {"_relevant": [], "_seen": []}
    lengths: dict[str, list[NDArray[np.int64]]] = {name: [] for name in named}
    for serialized in _batches(preprocessed_dir, split, records):
        parsed = tf.io.parse_example(serialized, parse)
        for name, value in raw_inputs.pad_raw(parsed, features).items():
            columns[name].append(value.numpy())
        query_ids.append(parsed["_query_id"].numpy())
        timestamps.append(parsed["_timestamp"].numpy())
        num_events.append(parsed["_num_events"].numpy())
        gains.append(parsed["_gain"].values.numpy())
        num_gains.append(parsed["_gain"].row_lengths().numpy())
        for name, batches in named.items():
            batches.append(pa.array(parsed[name].values.numpy(), pa.binary()))
            lengths[name].append(parsed[name].row_lengths().numpy())
    if not query_ids:
        raise DataError(
            f"{where}: holds no query, so nothing can be measured on it. If it should, look at "
            "split in the feature spec; otherwise leave out what reads it, such as evaluate."
        )
    ids = _decoded(np.concatenate(query_ids))
    relevant, seen = (
        Ragged.of_lengths(np.concatenate(lengths[name]), corpus.row_of(pa.concat_arrays(batches)))
        for name, batches in named.items()
    )
    _check_relevant(ids, relevant, np.concatenate(num_gains), where)
    try:
        truth = GroundTruth(relevant, np.concatenate(gains).astype(np.float64))
    except ValueError as cause:
        raise DataError(
            f"{where}: {cause}. Labels of relevant interactions are gains: set "
            "relevance.min_label above 0 in the feature spec."
        ) from cause
    queries = query_set.QuerySet(
        truth,
        seen.where(seen.values >= 0),
        {name: np.concatenate(parts) for name, parts in columns.items()},
        ids,
        split,
        np.concatenate(num_events),
        np.concatenate(timestamps),
    )
    return queries.take(np.argsort(ids, kind="stable"))


def load_sample(
    preprocessed_dir: Path,
    split: EvaluatedSplit,
    spec: FeatureSpec,
    corpus: Corpus,
    most: int | None,
    seed: int,
) -> tuple[query_set.QuerySet, int]:
    """At most so many queries of a split, drawn by the seed, and the number they were drawn from.

    See `load_query_set`.
    """
    order = query_order(preprocessed_dir, split)
    places = query_set.sample_places(len(order), most, seed)
    return load_query_set(preprocessed_dir, split, spec, corpus, order[places]), len(order)


def _batches(
    directory: Path, split: EvaluatedSplit, records: NDArray[np.integer] | None
) -> Iterator[tf.Tensor]:
    """Serialized queries, all or those at the given positions, in the order of the files."""
    chosen = None if records is None else np.sort(records)
    start = 0
    for batch in raw_inputs.read_records(directory, _QUERY_GLOBS[split]).batch(_BATCH_SIZE):
        if chosen is None:
            yield batch
            continue
        stop = start + len(batch)
        own = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, stop)] - start
        if len(own):
            yield tf.gather(batch, own)
        start = stop


def _check_relevant(
    ids: NDArray[np.object_], relevant: Ragged, num_gains: NDArray[np.int64], where: str
) -> None:
    unknown = relevant.where(relevant.values < 0).lengths
    wrong = (relevant.lengths == 0) | (relevant.lengths != num_gains) | (unknown > 0)
    if wrong.any():
        first = int(wrong.argmax())
        raise CorruptArtifact(
            f"{where}: the query {ids[first]!r} has {relevant.lengths[first]} relevant candidates "
            f"({unknown[first]} of them not in the corpus) and {num_gains[first]} gains; it "
            "must have one or more in the corpus, each with a gain. Run preprocess again."
        )


def text_inputs(features: tuple[Feature, ...]) -> tuple[str, ...]:
    """The raw inputs of a side that together hold its text; empty without text features."""
    return tuple(feature.name for feature in features if isinstance(feature, TextFeature))


def joined_texts(
    raw: Mapping[str, NDArray[Any]], features: tuple[Feature, ...]
) -> list[str] | None:
    """Joins the text features of each record, in the spec's order; None without text features.

    Args:
        raw: raw features by name, `[num_records]` bytes each.
        features: features of the records' side.
    """
    names = text_inputs(features)
    if not names:
        return None
    columns = [raw[name] for name in names]
    return [
        " ".join(value.decode() for value in values if value)
        for values in zip(*columns, strict=True)
    ]


def sorted_ids(ids: pa.Array) -> tuple[NDArray[np.integer], str | None]:
    """The order that sorts the ids, and an id that occurs twice, if there is one."""
    order = pc.sort_indices(ids)
    ordered = ids.take(order)
    place = pc.index(pc.equal(ordered[1:], ordered[:-1]), True).as_py()
    return order.to_numpy(), None if place < 0 else ordered[place].as_py()


def _decoded(values: NDArray[np.object_]) -> NDArray[np.object_]:
    return strings([value.decode() for value in values.tolist()])
