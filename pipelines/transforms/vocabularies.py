"""Vocabularies: values, and words for WordPiece, ordered by their counts in training."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.transforms.records import Trained
from tfrs_twotower import specs
from tfrs_twotower.features.wordpiece_list import Letters, count_words

_TEXTS_AT_ONCE = 512
_MAX_WORDS_HELD = 100_000
_LOOKED_UP = (specs.IdFeature, specs.CategoricalFeature, specs.MultiCategoricalFeature)
Settings = tuple[int, int | None]
"""`min_count` and `max_size` of a vocabulary."""
Counted = tuple[tuple[str, str], int]
"""`(vocabulary, value or word)` and a count."""


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
    """Turns `Trained` entities of one side into `((vocabulary, value), events)`."""

    def __init__(self, features: Sequence[specs.Feature]) -> None:
        super().__init__()
        self._counted = [
            (place, feature.vocabulary_name)
            for place, feature in enumerate(features)
            if isinstance(feature, _LOOKED_UP) and feature.hash_buckets is None
        ]

    def expand(self, trained: beam.PCollection) -> beam.PCollection:
        """Makes one element for each value of an entity."""
        return trained | beam.FlatMap(_values, self._counted)


def _values(trained: Trained, counted: Sequence[tuple[int, str]]) -> Iterator[Counted]:
    events, values, _ = trained
    for place, vocabulary in counted:
        value = values[place]
        for part in (value,) if isinstance(value, str) else value or ():  # type: ignore[union-attr]
            if part:
                yield (vocabulary, str(part)), events


class CountWords(beam.PTransform):
    """Turns `Trained` entities of one side into `((vocabulary, word), count)`."""

    def __init__(self, features: Sequence[specs.Feature]) -> None:
        super().__init__()
        self._texts = [
            (place, feature.vocabulary_name, Letters.of(feature))
            for place, feature in enumerate(features)
            if isinstance(feature, specs.TextFeature) and feature.given_vocabulary is None
        ]

    def expand(self, trained: beam.PCollection) -> beam.PCollection:
        """Counts words in each worker first, so that less is sent between workers."""
        return trained | beam.ParDo(_CountBatches(self._texts))


class _CountBatches(beam.DoFn):
    def __init__(self, texts: Sequence[tuple[int, str, Letters]]) -> None:
        self._texts = texts

    def start_bundle(self) -> None:
        self._waiting: dict[tuple[str, Letters], list[str]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def process(self, trained: Trained) -> Iterator[Counted]:
        for place, vocabulary, letters in self._texts:
            waiting = self._waiting.setdefault((vocabulary, letters), [])
            waiting.append(str(trained[1][place]))
            if len(waiting) >= _TEXTS_AT_ONCE:
                self._count(vocabulary, letters)
        if len(self._counts) >= _MAX_WORDS_HELD:
            yield from self._counts.items()
            self._counts = Counter()

    def finish_bundle(self) -> Iterable[Any]:
        for vocabulary, letters in self._waiting:
            self._count(vocabulary, letters)
        window = GlobalWindow()
        for item in self._counts.items():
            yield WindowedValue(item, window.max_timestamp(), [window])

    def _count(self, vocabulary: str, letters: Letters) -> None:
        waiting = self._waiting[vocabulary, letters]
        if waiting:
            counted = count_words(waiting, letters)
            self._counts.update({(vocabulary, word): n for word, n in counted.items()})
        waiting.clear()


class SelectValues(beam.PTransform):
    """Turns `((vocabulary, value), count)` into output items, most frequent first, ties by value.

    One worker sorts a vocabulary in memory; the model has to hold it in memory as well.

    Args:
        settings: `min_count` and `max_size` of each vocabulary.
        prefix: directory of the output names.
    """

    def __init__(self, settings: dict[str, Settings], prefix: str) -> None:
        super().__init__()
        self._settings = settings
        self._prefix = prefix

    def expand(self, counted: beam.PCollection) -> beam.PCollection:
        """Adds up the counts, and selects and orders the values."""
        return (
            counted
            | "AddUp" >> beam.CombinePerKey(sum)
            | "Frequent" >> beam.FlatMap(_frequent, self._settings)
            | "Group" >> beam.GroupByKey()
            | "Largest" >> beam.FlatMap(_largest, self._settings, self._prefix)
        )


def _frequent(
    counted: Counted, settings: dict[str, Settings]
) -> Iterator[tuple[str, tuple[int, str]]]:
    (vocabulary, value), count = counted
    if count >= settings[vocabulary][0]:
        yield vocabulary, (-count, value)


def _largest(
    group: tuple[str, Iterable[tuple[int, str]]], settings: dict[str, Settings], prefix: str
) -> Iterator[Any]:
    vocabulary, counted = group
    max_size = settings[vocabulary][1]
    selected = counted if max_size is None else heapq.nsmallest(max_size, counted)
    for item in selected:
        yield (f"{prefix}/{vocabulary}", 0), item
