"""WordPiece lists: learned from the words of texts, or given in a file."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
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
_PASSES_BY_THE_LAW, _LARGEST_POWER = 3, 50.0
_JOINER, _ITERATIONS, _LONGEST_PIECE, _MOST_LETTERS = "##", 4, 50, 1000  # tf-text's defaults
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

    The lists are those of tf-text's learner (top-down, as for BERT), which keeps the pieces whose
    count reaches a threshold; this function searches for the threshold. Words are taken in a fixed
    order, so that results repeat.

    Args:
        word_counts: words and their counts; the `MOST_WORDS` most frequent ones are used.
        size: largest size of the list, unless its single characters alone are more.
    """
    from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

    reserved = [PADDING_PIECE, UNKNOWN_PIECE]
    words = sorted(word_counts, key=lambda counted: (-counted[1], counted[0]))[:MOST_WORDS]
    if not words:
        return [*reserved, _ANY_PIECE]
    taken = learner.get_input_words(words, reserved, _LONGEST_PIECE)
    letters = learner.get_allowed_chars(taken, _MOST_LETTERS)
    taken = learner.filter_input_words(taken, letters, -1)
    guess = words[min(size, len(words)) - 1][1]
    bounds = words[-1][1], words[0][1]
    ends = count_ends(taken)
    return largest_that_fits(
        lambda least: pieces_that_reach(least, taken, ends), size, bounds, guess
    )


def pieces_that_reach(
    threshold: int, words: Sequence[tuple[str, int]], ends: Mapping[str, int]
) -> list[str]:
    """The list of tf-text's learner at one threshold.

    The learner counts all pieces of words, and takes from the count of each piece those of the
    longer ones that begin with it. What is left is how often the piece ends a word, which is
    counted here at once, in a third of the time.

    Args:
        threshold: least count of a piece that is longer than a character.
        words: distinct words and their counts.
        ends: what `count_ends` says of them.
    """
    from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

    letters = learner.extract_char_tokens(words)
    pieces = learner.ensure_all_tokens_exist(letters, {}, True, _JOINER)
    for iteration in range(_ITERATIONS):
        counts = count_ends(words, pieces) if iteration else ends
        frequent = {piece: count for piece, count in counts.items() if count >= threshold}
        pieces = learner.ensure_all_tokens_exist(letters, frequent, True, _JOINER)
    listed = learner.generate_final_vocabulary([PADDING_PIECE, UNKNOWN_PIECE], letters, pieces)
    return [str(piece) for piece in listed]


def count_ends(
    words: Sequence[tuple[str, int]], pieces: Mapping[str, int] | None = None
) -> Mapping[str, int]:
    """How often each end of a word occurs that begins where a piece begins.

    Args:
        words: distinct words and their counts.
        pieces: what words are split into, the longest first; single characters by default.
    """
    from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

    counts: defaultdict[str, int] = defaultdict(int)
    for word, count in words:
        splits = range(1, len(word) + 1)
        if pieces is not None:
            splits = learner.get_split_indices(word, pieces, True, _JOINER)
        counts[word] += count
        for start in splits[:-1]:
            counts[_JOINER + word[start:]] += count
    return counts


def largest_that_fits(
    learn: Callable[[int], list[str]], size: int, thresholds: tuple[int, int], guess: int
) -> list[str]:
    """Searches in few passes for the smallest threshold whose list fits.

    The size of the list falls about in proportion to 1 / threshold. So the next guess is where this
    law, taken through the last pass, meets the size, within the bounds that are still possible.
    After three passes on one side of the size the power of the law is that of the last two.

    Args:
        learn: from a threshold to its list; a larger threshold does not give a longer list.
        size: largest size of the list; the search ends at a list of 95 % of it.
        thresholds: smallest and largest threshold to try.
        guess: first threshold to try.
    """
    low, high = thresholds
    best: list[str] | None = None
    passes: list[tuple[int, int]] = []  # those on one side of the size
    while low <= high:
        threshold = min(max(guess, low), high)
        pieces = learn(threshold)
        if passes and (passes[-1][1] <= size) != (len(pieces) <= size):
            passes.clear()
        passes.append((threshold, len(pieces)))
        if len(pieces) <= size:
            best = pieces
            if len(pieces) >= _FULL_ENOUGH * size:
                break
            high = threshold - 1
        else:
            low = threshold + 1
        power = _power(passes) if len(passes) >= _PASSES_BY_THE_LAW else 1.0
        guess = round(threshold * (len(pieces) / (0.98 * size)) ** power)
        if power == 1.0 and not low <= guess <= high:
            guess = (low + high) // 2
    return best if best is not None else learn(thresholds[1])


def _power(passes: Sequence[tuple[int, int]]) -> float:
    """By which power of the shrinking of a list the threshold grew between the last two passes."""
    (threshold, length), (later_threshold, later_length) = passes[-2:]
    if length == later_length:
        return _LARGEST_POWER
    power = math.log(later_threshold / threshold) / math.log(length / later_length)
    return min(max(power, 1.0), _LARGEST_POWER)


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
