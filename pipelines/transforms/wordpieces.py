"""Learns a WordPiece list from counted words, or takes a given one."""

from collections.abc import Sequence
from pathlib import Path

from tfrs_twotower.errors import FeatureSpecError

PADDING, UNKNOWN = "[PAD]", "[UNK]"
MOST_WORDS = 200_000


def learn_wordpieces(word_counts: Sequence[tuple[str, int]], size: int) -> list[str]:
    """A WordPiece list of about the given size, `[PAD]` and `[UNK]` first.

    Uses tf-text's learner (top-down, as for BERT) on words in a fixed order, which makes it
    repeatable.

    Args:
        word_counts: words, most frequent first; at most `MOST_WORDS` are used.
        size: largest size of the list.
    """
    from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

    reserved = [PADDING, UNKNOWN]
    words = sorted(word_counts, key=lambda counted: (-counted[1], counted[0]))[:MOST_WORDS]
    if not words:
        return reserved
    return [str(piece) for piece in learner.learn(words, size, reserved)]


def read_wordpieces(path: Path) -> list[str]:
    """A given WordPiece list.

    Raises:
        FeatureSpecError: it cannot be read, does not begin with `[PAD]`, lacks `[UNK]`, or names
            a piece twice.
    """
    try:
        pieces = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise FeatureSpecError(
            f"{path}: cannot be read: {cause}. Check vocabulary_file in the feature spec."
        ) from cause
    if not pieces or pieces[0] != PADDING or UNKNOWN not in pieces:
        raise FeatureSpecError(
            f"{path}: begins with {pieces[:2]}; expected a WordPiece list, one a line, that begins "
            f"with {PADDING} and has {UNKNOWN}. Give another vocabulary_file, or none to learn one."
        )
    if len(set(pieces)) != len(pieces):
        twice = next(piece for piece in pieces if pieces.count(piece) > 1)
        raise FeatureSpecError(
            f"{path}: the piece '{twice}' stands twice; each may stand once. Remove the others."
        )
    return pieces
