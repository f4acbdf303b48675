"""WordPiece lists: learned from the words of texts, or given in a file."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import Stemmer
from numpy.typing import NDArray

from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.specs import TextFeature
from tfrs_twotower.tables.line_lists import read_pieces

PADDING_PIECE = "[PAD]"
UNKNOWN_PIECE = "[UNK]"
MOST_WORDS = 200_000
_FULL_ENOUGH = 0.95
_ANY_PIECE = "a"
"""The one piece of a list that was learned from no text; tf-text builds no tokeniser without."""


class Letters(NamedTuple):
    """What becomes of the letters of a text before it is split into words."""

    lower_case: bool
    keep_accents: bool
    """Whether marks stay on lower-cased letters."""

    @classmethod
    def of(cls, feature: TextFeature) -> "Letters":
        """The letters of a feature."""
        return cls(feature.lower_case, feature.keep_accents)

    @property
    def strips_accents(self) -> bool:
        """Whether BERT's normaliser, which strips accents with the case, does all of it."""
        return self.lower_case and not self.keep_accents

    def prepare(self, texts: Any) -> Any:
        """Texts `[n]` as the tokeniser gets them.

        Where accents stay, letters are lower-cased here, and a letter and its mark become one
        character (NFC), in whichever way they were written.
        """
        import tensorflow as tf
        import tensorflow_text as tf_text

        if self.strips_accents or not self.lower_case:
            return texts
        return tf.strings.lower(tf_text.normalize_utf8(texts, "NFC"), encoding="utf-8")


def count_words(texts: Sequence[str], letters: Letters) -> Counter[str]:
    """Counts the words of texts, as the first step of BERT's tokenisation splits them."""
    from tensorflow_text.python.ops.bert_tokenizer import BasicTokenizer

    tokenizer = BasicTokenizer(lower_case=letters.strips_accents)
    words = tokenizer.tokenize(letters.prepare(texts)).flat_values.numpy()
    return Counter({word.decode("utf-8"): n for word, n in Counter(words.tolist()).items()})


def learn_wordpieces(word_counts: Sequence[tuple[str, int]], size: int) -> list[str]:
    """Learns the largest WordPiece list that fits a size (to 5 %), `[PAD]` and `[UNK]` first.

    tf-text's learner (top-down, as for BERT) keeps the pieces whose count reaches a threshold; this
    function searches for the threshold. It passes words in a fixed order, so that results repeat.

    Args:
        word_counts: words and their counts; the `MOST_WORDS` most frequent ones are used.
        size: largest size of the list, unless its single characters alone are more.
    """
    from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

    reserved = [PADDING_PIECE, UNKNOWN_PIECE]
    words = sorted(word_counts, key=lambda counted: (-counted[1], counted[0]))[:MOST_WORDS]
    if not words:
        return [*reserved, _ANY_PIECE]

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
    Where a smaller threshold gave no more pieces, as among words that are rare alike, it goes on to
    the smallest one.

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
        guess = round(threshold * len(pieces) / (0.98 * size))
        if len(pieces) <= size:
            if best is not None and len(pieces) == len(best):
                guess = low
            best = pieces
            if len(pieces) >= _FULL_ENOUGH * size:
                break
            high = threshold - 1
        else:
            low = threshold + 1
        if not low <= guess <= high:
            guess = (low + high) // 2
    return best if best is not None else learn(thresholds[1])


def number_stems(pieces: Sequence[str]) -> NDArray[np.int64]:
    """Numbers the stems of pieces, in the order of their first pieces: `[num_pieces]`.

    Words of one English stem (Snowball) share a number. The padding, the unknown piece and each
    continuation (`##ing`) have one of their own.
    """
    stemmer = Stemmer.Stemmer("english")
    numbers: dict[str, int] = {}
    alone = (PADDING_PIECE, UNKNOWN_PIECE)
    keys = [
        piece if piece.startswith("##") or piece in alone else stemmer.stemWord(piece.lower())
        for piece in pieces
    ]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def read_wordpieces(path: Path) -> list[str]:
    """Reads a WordPiece list, one piece a line.

    Raises:
        FeatureSpecError: the file cannot be read, does not begin with `[PAD]`, lacks `[UNK]`, or
            lists a piece twice.
    """
    try:
        pieces = read_pieces(path)
    except (OSError, UnicodeDecodeError) as cause:
        raise FeatureSpecError(
            f"{path}: cannot be read: {cause}. Check vocabulary_file and checkpoint in the feature "
            "spec; their paths are relative to the data root."
        ) from cause
    if not pieces or pieces[0] != PADDING_PIECE or UNKNOWN_PIECE not in pieces:
        raise FeatureSpecError(
            f"{path}: begins with {pieces[:2]}; expected a WordPiece list, one piece a line, that "
            f"begins with {PADDING_PIECE} and has {UNKNOWN_PIECE}. Give another "
            "vocabulary_file, or none to learn one."
        )
    if len(set(pieces)) != len(pieces):
        twice = next(piece for piece in pieces if pieces.count(piece) > 1)
        raise FeatureSpecError(
            f"{path}: the piece '{twice}' is listed twice; a piece may be listed once. Remove one."
        )
    return pieces
