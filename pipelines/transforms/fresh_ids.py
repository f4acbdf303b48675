"""The ids that the validation window adds to vocabularies, which only a refit knows."""

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from pipelines.transforms.vocabularies import Settings, value_vocabularies
from tfrs_twotower import specs


def id_vocabularies(spec: specs.FeatureSpec) -> dict[str, Settings]:
    """Those of `value_vocabularies` that hold the ids of queries or candidates."""
    names = {
        feature.vocabulary_name
        for feature in (*spec.query.features, *spec.candidate.features)
        if isinstance(feature, specs.IdFeature)
    }
    return {name: own for name, own in value_vocabularies(spec).items() if name in names}


class SelectFreshIds(beam.PTransform):
    """Turns counts of two windows, each as for `SelectValues`, into items of what the second adds.

    Ids are selected by their counts in both windows together, by the rules of the vocabulary. What
    the first window alone has selected is left out, and stays in the vocabulary whatever follows.

    Args:
        settings: of the vocabularies of ids; others are left out.
        prefix: directory of the output names.
    """

    def __init__(self, settings: dict[str, Settings], prefix: str) -> None:
        super().__init__()
        self._settings = settings
        self._prefix = prefix

    def expand(self, windows: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """Adds up the counts, and selects the ids."""
        first, second = windows
        return (
            (
                first | "First" >> beam.Map(lambda item: (item[0], (item[1], 0))),
                second | "Second" >> beam.Map(lambda item: (item[0], (0, item[1]))),
            )
            | "Windows" >> beam.Flatten()
            | "Ids" >> beam.Filter(lambda item, names: item[0][0] in names, set(self._settings))
            | "AddUp" >> beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum))
            | "ByVocabulary" >> beam.Map(_by_vocabulary)
            | "Group" >> beam.GroupByKey()
            | "Added" >> beam.FlatMap(_added, self._settings, self._prefix)
        )


def _by_vocabulary(
    counted: tuple[tuple[str, str], tuple[int, int]],
) -> tuple[str, tuple[int, int, str]]:
    (vocabulary, value), (first, second) = counted
    return vocabulary, (first, second, value)


def _added(
    group: tuple[str, Iterable[tuple[int, int, str]]], settings: dict[str, Settings], prefix: str
) -> Iterator[Any]:
    vocabulary, members = group
    min_count, max_size = settings[vocabulary]
    counted = list(members)
    known = {
        value
        for _, value in _largest(
            max_size, [(-n, value) for n, _, value in counted if n >= min_count]
        )
    }
    both = [(-n - more, value) for n, more, value in counted if n + more >= min_count]
    for item in _largest(max_size, both):
        if item[1] not in known:
            yield (f"{prefix}/{vocabulary}", 0), item


def _largest(max_size: int | None, counted: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return counted if max_size is None else heapq.nsmallest(max_size, counted)
