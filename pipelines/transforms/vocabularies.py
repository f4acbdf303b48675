"""Vocabularies: values by how many training interactions they took part in.

A value of a query or candidate counts once for each training interaction of that query or
candidate, whatever the label; a vocabulary that both sides share adds both up.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from pipelines.transforms.records import Trained
from tfrs_twotower.specs import (
    CategoricalFeature,
    Feature,
    FeatureSpec,
    IdFeature,
    MultiCategoricalFeature,
    TextFeature,
)

_LOOKED_UP = (IdFeature, CategoricalFeature, MultiCategoricalFeature)
Settings = tuple[int, int | None]
"""min_count and max_size."""


def value_vocabularies(spec: FeatureSpec) -> dict[str, Settings]:
    """The vocabularies of values that are learned, by name; hashed ones have no list."""
    return {
        feature.vocabulary_name: (feature.min_count, feature.max_size)
        for feature in (*spec.query.features, *spec.candidate.features)
        if isinstance(feature, _LOOKED_UP) and feature.hash_buckets is None
    }


def text_vocabularies(spec: FeatureSpec) -> dict[str, TextFeature]:
    """A text feature for each WordPiece vocabulary; its sharers have the same settings."""
    return {
        feature.vocabulary_name: feature
        for feature in (*spec.query.features, *spec.candidate.features)
        if isinstance(feature, TextFeature)
    }


class CountValues(beam.PTransform):
    """`Trained` entities of one side to `((vocabulary, value), events)`."""

    def __init__(self, features: Sequence[Feature]) -> None:
        super().__init__()
        self._counted = [
            (place, feature.vocabulary_name)
            for place, feature in enumerate(features)
            if isinstance(feature, _LOOKED_UP) and feature.hash_buckets is None
        ]

    def expand(self, trained: beam.PCollection) -> beam.PCollection:
        """One element for each value of a record."""
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
    """`((vocabulary, value), count)` to output items, most frequent first, ties by value.

    A vocabulary is sorted in one worker's memory: it has to fit into the model, too.

    Args:
        settings: `min_count` and `max_size` of each vocabulary.
        prefix: directory of the output names.
    """

    def __init__(self, settings: dict[str, Settings], prefix: str) -> None:
        super().__init__()
        self._settings = settings
        self._prefix = prefix

    def expand(self, counted: beam.PCollection) -> beam.PCollection:
        """Adds up, cuts off and orders."""
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
