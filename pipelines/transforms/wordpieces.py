"""Counts words; learns a WordPiece list from the counts, or reads a given list."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.transforms.records import Trained
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.specs import Feature, TextFeature

_BATCH = 512
_MOST_COUNTED = 100_000
Counted = tuple[tuple[str, str], int]
PADDING, UNKNOWN = "[PAD]", "[UNK]"
MOST_WORDS = 200_000
_FULL_ENOUGH = 0.95


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
            lower_case: _basic_tokenizer(lower_case) for _, _, lower_case in self._texts
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


def _basic_tokenizer(lower_case: bool) -> Any:
    import tfrs_twotower  # noqa: F401, I001  (picks Keras 2 before tensorflow_text is imported)
    from tensorflow_text.python.ops.bert_tokenizer import BasicTokenizer

    return BasicTokenizer(lower_case=lower_case)


def learn_wordpieces(word_counts: Sequence[tuple[str, int]], size: int) -> list[str]:
    """Learns the largest WordPiece list that fits a size (to 5 %), `[PAD]` and `[UNK]` first.

    tf-text's learner (top-down, as for BERT) keeps the pieces whose count reaches a threshold; this
    function searches for the threshold. It passes words in a fixed order, so that results repeat.

    Args:
        word_counts: words and their counts; the `MOST_WORDS` most frequent ones are used.
        size: largest size of the list, unless its single characters alone are more.
    """
    import tfrs_twotower  # noqa: F401, I001  (picks Keras 2 before tensorflow_text is imported)
    from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

    reserved = [PADDING, UNKNOWN]
    words = sorted(word_counts, key=lambda counted: (-counted[1], counted[0]))[:MOST_WORDS]
    if not words:
        return reserved

    def learn(threshold: int) -> list[str]:
        # An equal upper and lower bound is one pass of the learner at that threshold.
        pieces = learner.learn(
            words, size, reserved, upper_thresh=threshold, lower_thresh=threshold
        )
        return [str(piece) for piece in pieces]

    guess = words[min(size, len(words)) - 1][1]
    return largest_that_fits(learn, size, (words[-1][1], words[0][1]), guess)


def largest_that_fits(
    learn: Callable[[int], list[str]], size: int, thresholds: tuple[int, int], guess: int
) -> list[str]:
    """Searches in few passes for the smallest threshold whose list fits.

    The size of the list falls about in proportion to 1 / threshold. So the next guess is where this
    law, taken through the last pass, meets the size, within the bounds that are still possible.

    Args:
        learn: from a threshold to its list; a larger threshold does not give a longer list.
        size: largest size of the list; the search ends at a list of 95 % of it.
        thresholds: smallest and largest threshold to try.
        guess: first threshold to try.
    """
    low, high = thresholds
    best: list[str] | None = None
    while low <= high:
        threshold = min(max(guess, low), high)
        pieces = learn(threshold)
        if len(pieces) <= size:
            best = pieces
            if len(pieces) >= _FULL_ENOUGH * size:
                break
            high = threshold - 1
        else:
            low = threshold + 1
        guess = round(threshold * len(pieces) / (0.98 * size))
        if not low <= guess <= high:
            guess = (low + high) // 2
    return best if best is not None else learn(thresholds[1])


def read_wordpieces(path: Path) -> list[str]:
    """Reads a WordPiece list, one piece a line.

    Raises:
        FeatureSpecError: the file cannot be read, does not begin with `[PAD]`, lacks `[UNK]`, or
            lists a piece twice.
    """
    try:
        pieces = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise FeatureSpecError(
            f"{path}: cannot be read: {cause}. Check vocabulary_file in the feature spec."
        ) from cause
    if not pieces or pieces[0] != PADDING or UNKNOWN not in pieces:
        raise FeatureSpecError(
            f"{path}: begins with {pieces[:2]}; expected a WordPiece list, one piece a line, that "
            f"begins with {PADDING} and has {UNKNOWN}. Give another "
            "vocabulary_file, or none to learn one."
        )
    if len(set(pieces)) != len(pieces):
        twice = next(piece for piece in pieces if pieces.count(piece) > 1)
        raise FeatureSpecError(
            f"{path}: the piece '{twice}' is listed twice; a piece may be listed once. Remove one."
        )
    return pieces
