"""WordPiece lists: learned from the words of texts, or given in a file."""

import math
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
    taken = learner.get_input_words(words, reserved, _LONGEST_PIECE)
    letters = learner.get_allowed_chars(taken, _MOST_LETTERS)
    taken = learner.filter_input_words(taken, letters, -1)
    if not taken:
        return [*reserved, _ANY_PIECE]
    ends = EndsOfWords(taken)
    guess = words[min(size, len(words)) - 1][1]
    most = words[0][1]
    pieces = largest_that_fits(ends.pieces_that_reach, size, (words[-1][1], most), guess)
    if len(pieces) > size:  # too many words are as frequent as the most frequent one
        pieces = largest_that_fits(
            ends.pieces_that_reach, size, (most + 1, ends.most + 1), most + 1
        )
    return pieces


class EndsOfWords:
    """The ends of words, from which tf-text's learner takes its pieces, each as a number.

    At each threshold the learner counts all pieces of all words, and takes from the count of a
    piece those of the longer ones that begin with it. What is left is how often the piece ends a
    word from where another piece begins. So a piece is an end of a word, or a single character.
    Words are split by the longest piece that comes next: the end that stands there, if it is a
    piece, or else the longest end that this one begins with, and so on. Which end that is does not
    depend on the threshold, so that a pass is a few array operations and no loop over words.

    Attributes:
        most: count of the most frequent end.
    """

    def __init__(self, words: Sequence[tuple[str, int]]) -> None:
        """Numbers the ends of distinct words, which are given with their counts."""
        letters = sorted({letter for word, _ in words for letter in word})
        numbers: dict[str, int] = {}
        for end in (*letters, *(_JOINER + letter for letter in letters)):
            numbers.setdefault(end, len(numbers))
        self._letters, self._num_letters = letters, len(numbers)
        lengths = np.array([len(word) for word, _ in words], np.int64)
        self._begins = np.cumsum(lengths) - lengths
        self._limits = np.repeat(self._begins + lengths, lengths)
        self._is_begin = np.zeros(len(self._limits), bool)
        self._is_begin[self._begins] = True
        self._end_at = np.array(
            [
                numbers.setdefault(_JOINER + word[start:] if start else word, len(numbers))
                for word, _ in words
                for start in range(len(word))
            ],
            np.int64,
        )
        self._ends = list(numbers)
        self._lengths = np.array([len(end) for end in self._ends], np.int64)
        self._begins_with, self._levels = _beginnings(self._ends)
        self._counts = np.repeat(np.array([count for _, count in words], np.int64), lengths)
        self._at_every_letter = self._count(np.arange(len(self._end_at)))
        self.most = int(self._at_every_letter.max(initial=0))

    def pieces_that_reach(self, threshold: int) -> list[str]:
        """The list of tf-text's learner at one threshold, the least count of a longer piece."""
        from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

        counts = self._at_every_letter
        for _ in range(_ITERATIONS - 1):
            counts = self._count(self._split(counts >= threshold))
        frequent = np.flatnonzero(counts >= threshold)
        pieces = {self._ends[end]: int(counts[end]) for end in frequent}
        pieces = learner.ensure_all_tokens_exist(self._letters, pieces, True, _JOINER)
        listed = learner.generate_final_vocabulary(
            [PADDING_PIECE, UNKNOWN_PIECE], self._letters, pieces
        )
        return [str(piece) for piece in listed]

    def _count(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """How often each end begins at some places of the words: `[num_ends]`."""
        counts = np.bincount(self._end_at[places], self._counts[places], minlength=len(self._ends))
        return counts.astype(np.int64)

    def _split(self, is_piece: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The places at which pieces begin when words are split, the longest piece first.

        Args:
            is_piece: `[num_ends]`; single characters are pieces in any case.
        """
        is_piece[: self._num_letters] = True
        longest = np.where(is_piece, np.arange(len(is_piece)), -1)
        for level in self._levels:
            others = level[~is_piece[level]]
            longest[others] = longest[self._begins_with[others]]
        places = [self._begins[:0]]
        place = self._begins
        while len(place):
            places.append(place)
            joined = np.where(self._is_begin[place], 0, len(_JOINER))
            after = place + self._lengths[longest[self._end_at[place]]] - joined
            place = after[after < self._limits[place]]
        return np.concatenate(places)


def _beginnings(ends: Sequence[str]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """The longest other end that each end begins with, `[num_ends]`, and the ends by depth.

    Without one it is -1. Ends of one depth begin with as many other ends; those of depth 0 are
    left out.
    """
    begins_with = np.full(len(ends), -1, np.int64)
    depths = np.zeros(len(ends), np.int64)
    open_ends: list[int] = []
    for end in sorted(range(len(ends)), key=ends.__getitem__):
        while open_ends and not ends[end].startswith(ends[open_ends[-1]]):
            open_ends.pop()
        if open_ends:
            begins_with[end], depths[end] = open_ends[-1], len(open_ends)
        open_ends.append(end)
    by_depth = np.argsort(depths, kind="stable")
    return begins_with, np.split(by_depth, np.cumsum(np.bincount(depths)))[1:-1]


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
