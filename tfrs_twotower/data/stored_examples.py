"""Reads the shards of training examples: as arrays that stay on disk, or as raw batches."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tfrs_twotower import specs
from tfrs_twotower.artifacts.layout import TRAIN_GLOB
from tfrs_twotower.data import example_shards, shards
from tfrs_twotower.data.example_shards import EVENTS, EXAMPLES, QUERY_ID
from tfrs_twotower.data.histories import Histories
from tfrs_twotower.errors import CorruptArtifact

DEFAULT_BATCH_SIZE = 4096


class TrainingBatch(TypedDict):
    """A batch of training examples: the query's raw features, and `[batch]` arrays."""

    query: dict[str, NDArray[Any]]
    """As `raw_inputs.raw_signature` shapes them; strings are bytes."""
    query_id: NDArray[np.object_]
    """Id of the query, bytes."""
    candidate_id: NDArray[np.object_]
    """Id of the positive candidate, bytes."""
    timestamp: NDArray[np.int64]
    """Time of the interaction in seconds; 0 in data without time."""
    label: NDArray[np.float32]
    """Label of the interaction."""
    weight: NDArray[np.float32]
    """Weight of the interaction in the loss."""


class ExampleShard:
    """One shard as arrays that lie on disk (memory-mapped).

    Raises:
        CorruptArtifact: the file cannot be read, or lacks a column of the feature spec.
    """

    def __init__(self, path: Path, features: Sequence[specs.Feature]) -> None:
        try:
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
            self._table = {name: batch.column(name) for name in batch.schema.names}
            self.ids: pa.Array = self._table[QUERY_ID]
            self._examples = self._table[EXAMPLES]
            self.fields = [field.name for field in self._examples.type.value_type]
            needed = [EVENTS + rule for rule in example_shards.rules(features)]
            needed += [feature.name for feature in example_shards.static_features(features)]
            absent = [name for name in needed if name not in (*self.fields, *self._table)]
        except (OSError, KeyError, TypeError, pa.ArrowException) as cause:
            raise CorruptArtifact(
                f"{path}: cannot be read: {cause}. Run `twotower preprocess` again."
            ) from cause
        if absent:
            raise CorruptArtifact(
                f"{path}: lacks {', '.join(absent)}, which the feature spec names. Run `twotower "
                "preprocess` again."
            )

    def __len__(self) -> int:
        return len(self._examples.values)

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """`[num_examples]` row of each example's query in `ids`."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self._examples.offsets.to_numpy()))

    def example_values(self, name: str) -> NDArray[Any]:
        """`[num_examples]` numbers of a field of the examples, by query."""
        return np.asarray(self._field(self._examples, name).to_numpy())

    def chosen(self) -> tuple[NDArray[np.int32], pa.Array]:
        """`[num_examples]` positions of the candidates in a list of ids, and that list."""
        return _coded(self._field(self._examples, "candidate"))

    def events(self, rule: str) -> tuple[NDArray[np.int32], pa.Array]:
        """`[num_events]` positions of the candidates of a rule's events, and their list."""
        return _coded(self._field(self._table[EVENTS + rule], "candidate"))

    def until_repeat(self, rule: str) -> NDArray[np.int32]:
        """`[num_events]`: see `histories.Histories`."""
        values = self._field(self._table[EVENTS + rule], "until_repeat")
        return np.asarray(values.to_numpy())

    def first_events(self, rule: str) -> NDArray[np.int32]:
        """`[num_queries]` position of the first event of each query."""
        offsets: NDArray[np.int32] = self._table[EVENTS + rule].offsets.to_numpy()
        return offsets[:-1]

    def static(self, name: str) -> pa.Array:
        """`[num_queries]` values of a feature of the query."""
        return self._table[name]

    @staticmethod
    def _field(lists: pa.ListArray, name: str) -> pa.Array:
        structs = lists.values
        return structs.field(structs.type.get_field_index(name))


def _coded(codes: pa.DictionaryArray) -> tuple[NDArray[np.int32], pa.Array]:
    return codes.indices.to_numpy(), codes.dictionary


def open_shards(directory: Path, spec: specs.FeatureSpec, pattern: str) -> list[ExampleShard]:
    """Opens all shards that match the pattern, by name.

    Raises:
        MissingArtifact: there is no such file in the directory.
        CorruptArtifact: a file cannot be read, or lacks a feature of the spec.
    """
    features = spec.query.features
    return [ExampleShard(path, features) for path in shards.find_shards(directory, pattern)]


def read_training_examples(
    directory: Path,
    spec: specs.FeatureSpec,
    pattern: str = TRAIN_GLOB,
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Iterator[TrainingBatch]:
    """Batches of raw training examples, in the order of `ExampleTable`.

    A batch has examples of one shard; the last of a shard may be short.

    Raises:
        MissingArtifact: there is no such file in the directory.
        CorruptArtifact: a file cannot be read, or lacks a feature.
    """
    return (
        _raw_batch(shard, spec, in_order[start : start + batch_size])
        for shard in open_shards(directory, spec, pattern)
        for in_order in (np.argsort(shard.example_values("place")),)
        for start in range(0, len(shard), batch_size)
    )


def _raw_batch(
    shard: ExampleShard, spec: specs.FeatureSpec, examples: NDArray[np.int64]
) -> TrainingBatch:
    owners = shard.owners[examples]
    codes, candidate_ids = shard.chosen()
    times = shard.example_values("timestamp")[examples]
    query: dict[str, NDArray[Any]] = {}
    for rule, histories in example_shards.rules(spec.query.features).items():
        events, ids = shard.events(rule)
        ends = shard.first_events(rule)[owners] + shard.example_values(f"end:{rule}")[examples]
        for feature in histories:
            history = Histories(
                events,
                shard.until_repeat(rule),
                ends,
                shard.example_values(f"length:{rule}")[examples],
                codes[examples] if feature.window == "leave_one_out" else None,
                np.arange(1, len(ids) + 1, dtype=np.int32),
                feature.max_length,
            )
            numbers = history[:]
            names = ids.take(pa.array(numbers.ravel() - 1, mask=numbers.ravel() == 0))
            query[feature.name] = _as_bytes(names.fill_null("")).reshape(numbers.shape)
    for own in spec.query.features:
        if example_shards.has_time_of_event(own):
            known = spec.interactions.has_times
            query[own.name] = times if known else np.full_like(times, specs.MISSING_TIME)
        elif own.name not in query:
            query[own.name] = raw_values(shard.static(own.name).take(pa.array(owners)), own)
    return {
        "query": query,
        "query_id": _as_bytes(shard.ids.take(pa.array(owners))),
        "candidate_id": _as_bytes(candidate_ids.take(pa.array(codes[examples]))),
        "timestamp": times,
        "label": shard.example_values("label")[examples],
        "weight": shard.example_values("weight")[examples],
    }


def raw_values(values: pa.Array, feature: specs.Feature) -> NDArray[Any]:
    """Values of a feature that queries have once, as the tower takes them."""
    if not pa.types.is_list(values.type):
        is_text = pa.types.is_string(values.type)
        return _as_bytes(values) if is_text else np.asarray(values.to_numpy(zero_copy_only=False))
    width = getattr(feature, "max_values", 0)
    lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
    places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    owners = np.repeat(np.arange(len(values)), lengths)
    padded = np.full((len(values), width), b"", object)
    fits = places < width
    padded[owners[fits], places[fits]] = _as_bytes(values.flatten())[fits]
    return padded


def _as_bytes(texts: pa.Array) -> NDArray[np.object_]:
    found: NDArray[np.object_] = texts.cast(pa.binary()).to_numpy(zero_copy_only=False)
    return found.astype(object, copy=False)
