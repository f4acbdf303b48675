"""Vocabularies: values, and words for WordPiece, ordered by their counts in training."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.transforms import batches, sharded_output
from tfrs_twotower import specs
from tfrs_twotower.features.wordpiece_list import Letters, count_words

_TEXTS_AT_ONCE = 4096
_LOOKED_UP = (specs.IdFeature, specs.CategoricalFeature, specs.MultiCategoricalFeature)
Settings = tuple[int, int | None]
"""`min_count` and `max_size` of a vocabulary."""
Counted = tuple[str, bytes]
"""A vocabulary, and a packed table of `value` (or word) and `count`."""


def value_vocabularies(spec: specs.FeatureSpec) -> dict[str, Settings]:
    """Settings of the vocabularies of ids and categories, by name; a hashed feature has none."""
    return {
        feature.vocabulary_name: (feature.min_count, feature.max_size)
        for feature in (*spec.query.features, *spec.candidate.features)
        if isinstance(feature, _LOOKED_UP) and feature.hash_buckets is None
    }


def text_vocabularies(spec: specs.FeatureSpec) -> dict[str, specs.TextFeature]:
    """One text feature for each WordPiece vocabulary; features that share it agree in settings."""
    return {
        feature.vocabulary_name: feature
        for feature in (*spec.query.features, *spec.candidate.features)
        if isinstance(feature, specs.TextFeature)
    }


class CountValues(beam.PTransform):
    """Turns trained entities of one side into counts of events, `(vocabulary, counts)`."""

    def __init__(self, features: Sequence[specs.Feature]) -> None:
        super().__init__()
        self._counted = [
            (batches.value_column(feature), feature.vocabulary_name)
            for feature in features
            if isinstance(feature, _LOOKED_UP) and feature.hash_buckets is None
        ]

    def expand(self, trained: beam.PCollection) -> beam.PCollection:
        """Adds up the events of each value, table by table."""
        return trained | beam.FlatMap(_count_values, self._counted)


def _count_values(part: bytes, counted: Sequence[tuple[str, str]]) -> Iterator[Counted]:
    table = batches.unpacked([part])
    events = batches.flat(table["events"])
    for column, vocabulary in counted:
        values, number = batches.flat(table[column]), events
        if pa.types.is_list(values.type):
            number, values = number.take(pc.list_parent_indices(values)), values.flatten()
        counts = pa.table({"value": values, "count": number})
        counts = added_up(counts.filter(pc.greater(pc.binary_length(values), 0)))
        if counts.num_rows:
            yield vocabulary, batches.packed(counts)


def added_up(counts: pa.Table) -> pa.Table:
    """Counts in which every value stands once."""
    columns = [name for name in counts.column_names if name != "value"]
    added = counts.group_by("value").aggregate([(name, "sum") for name in columns])
    return added.rename_columns([name.removesuffix("_sum") for name in added.column_names])


class CountWords(beam.PTransform):
    """Turns trained entities of one side into counts of words, `(vocabulary, counts)`."""

    def __init__(self, features: Sequence[specs.Feature]) -> None:
        super().__init__()
        self._texts = [
            (batches.value_column(feature), feature.vocabulary_name, Letters.of(feature))
            for feature in features
            if isinstance(feature, specs.TextFeature) and feature.given_vocabulary is None
        ]

    def expand(self, trained: beam.PCollection) -> beam.PCollection:
        """Counts the words of each table."""
        return trained | beam.FlatMap(_count_words, self._texts)


def _count_words(part: bytes, texts: Sequence[tuple[str, str, Letters]]) -> Iterator[Counted]:
    table = batches.unpacked([part])
    for column, vocabulary, letters in texts:
        counts: Counter[str] = Counter()
        for start in range(0, table.num_rows, _TEXTS_AT_ONCE):
            some = table[column].slice(start, _TEXTS_AT_ONCE).to_pylist()
            counts.update(count_words(some, letters))
        if counts:
            columns = {"value": list(counts), "count": list(counts.values())}
            yield vocabulary, batches.packed(pa.table(columns))


class SelectValues(beam.PTransform):
    """Turns counts into the output items of vocabularies, `((name, 0), counts)`.

    A vocabulary is counted and cut in shards of its values; one worker orders what is left, which
    the model has to hold in memory as well.

    Args:
        settings: `min_count` and `max_size` of each vocabulary.
        prefix: directory of the output names.
        num_shards: shards of the values of a vocabulary.
    """

    def __init__(self, settings: dict[str, Settings], prefix: str, num_shards: int) -> None:
        super().__init__()
        self._settings = settings
        self._prefix = prefix
        self._num_shards = num_shards

    def expand(self, counted: beam.PCollection) -> beam.PCollection:
        """Adds up the counts, and selects the values."""
        return (
            counted
            | "Divide" >> beam.FlatMap(_by_value, self._num_shards)
            | "AddUp" >> beam.GroupByKey()
            | "Frequent" >> beam.FlatMap(_frequent, self._settings)
            | "Group" >> beam.GroupByKey()
            | "Largest" >> beam.Map(_largest, self._settings, self._prefix)
        )


def _by_value(counted: Counted, num_shards: int) -> Iterator[tuple[tuple[str, int], bytes]]:
    vocabulary, part = counted
    for shard, rows in batches.divided(batches.unpacked([part]), "value", num_shards):
        yield (vocabulary, shard), rows


def _frequent(
    group: tuple[tuple[str, int], Iterable[bytes]], settings: dict[str, Settings]
) -> Iterator[Counted]:
    (vocabulary, _), parts = group
    min_count, max_size = settings[vocabulary]
    counts = added_up(batches.unpacked(parts))
    frequent = counts.filter(pc.greater_equal(counts["count"], min_count))
    if frequent.num_rows:
        if max_size is not None and frequent.num_rows > max_size:
            frequent = sharded_output.most_frequent(frequent, max_size)
        yield vocabulary, batches.packed(frequent)


def _largest(
    group: tuple[str, Iterable[bytes]], settings: dict[str, Settings], prefix: str
) -> tuple[tuple[str, int], bytes]:
    vocabulary, parts = group
    selected = sharded_output.most_frequent(batches.unpacked(parts), settings[vocabulary][1])
    return (f"{prefix}/{vocabulary}", 0), batches.packed(selected)
