"""Counts the words of texts; WordPiece lists are learned from the counts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.transforms.records import Trained
from tfrs_twotower.features.wordpiece_list import basic_tokenizer
from tfrs_twotower.specs import Feature, TextFeature

_BATCH = 512
_MOST_COUNTED = 100_000
Counted = tuple[tuple[str, str], int]


class CountWords(beam.PTransform):
    """Turns `Trained` entities of one side into `((vocabulary, word), count)`."""

    def __init__(self, features: Sequence[Feature]) -> None:
        super().__init__()
        self._texts = [
            (place, feature.vocabulary_name, feature.lower_case)
            for place, feature in enumerate(features)
            if isinstance(feature, TextFeature) and feature.vocabulary_file is None
        ]

    def expand(self, trained: beam.PCollection) -> beam.PCollection:
        """Counts words in each worker first, so that less is sent between workers."""
        return trained | beam.ParDo(_CountBatches(self._texts))


class _CountBatches(beam.DoFn):
    def __init__(self, texts: Sequence[tuple[int, str, bool]]) -> None:
        self._texts = texts

    def setup(self) -> None:
        self._tokenizers = {
            lower_case: basic_tokenizer(lower_case) for _, _, lower_case in self._texts
        }

    def start_bundle(self) -> None:
        self._waiting: dict[tuple[str, bool], list[str]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def process(self, trained: Trained) -> Iterator[Counted]:
        for place, vocabulary, lower_case in self._texts:
            waiting = self._waiting.setdefault((vocabulary, lower_case), [])
            waiting.append(str(trained[1][place]))
            if len(waiting) >= _BATCH:
                self._count(vocabulary, lower_case)
        if len(self._counts) >= _MOST_COUNTED:
            yield from self._counts.items()
            self._counts = Counter()

    def finish_bundle(self) -> Iterable[Any]:
        for vocabulary, lower_case in self._waiting:
            self._count(vocabulary, lower_case)
        window = GlobalWindow()
        for item in self._counts.items():
            yield WindowedValue(item, window.max_timestamp(), [window])

    def _count(self, vocabulary: str, lower_case: bool) -> None:
        waiting = self._waiting[vocabulary, lower_case]
        if waiting:
            words = self._tokenizers[lower_case].tokenize(waiting).flat_values.numpy()
            counted = Counter(words.tolist())
            self._counts.update(
                {(vocabulary, word.decode("utf-8")): n for word, n in counted.items()}
            )
        waiting.clear()
