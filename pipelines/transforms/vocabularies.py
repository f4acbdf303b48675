"""Vocabularies: the values of features, ordered by their numbers of training interactions.

A value of a query or candidate counts once for each of its training interactions, whatever the
label; a vocabulary that both sides share adds both up.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from pipelines.transforms.records import Trained
from tfrs_twotower import specs

_LOOKED_UP = (specs.IdFeature, specs.CategoricalFeature, specs.MultiCategoricalFeature)
Settings = tuple[int, int | None]
"""`min_count` and `max_size` of a vocabulary."""


def value_vocabularies(spec: specs.FeatureSpec) -> dict[str, Settings]:
    """Settings of the vocabularies of ids and categories, by name; hashed features have none."""
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


def _values(
    trained: Trained, counted: Sequence[tuple[int, str]]
) -> Iterator[tuple[tuple[str, str], int]]:
    events, values, _ = trained
    for place, vocabulary in counted:
        value = values[place]
        for part in (value,) if isinstance(value, str) else value or ():  # type: ignore[union-attr]
            if part:
                yield (vocabulary, str(part)), events


class SelectValues(beam.PTransform):
    """Turns `((vocabulary, value), count)` into output items, most frequent first, ties by value.

    One worker sorts a vocabulary in memory, which suffices: the model has to hold it as well.

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
    counted: tuple[tuple[str, str], int], settings: dict[str, Settings]
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
