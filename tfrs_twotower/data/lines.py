"""Texts as lines: which can be stored one on a line, and how a terminal shows any. No TensorFlow.

Vocabularies are text files with one value on each line, and the ids of a bundle are an asset that
TensorFlow reads line by line (where it drops carriage returns). NumPy drops NUL at the end of a
text.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from tfrs_twotower.errors import DataError

_BREAKING = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def breaks_lines(text: str) -> bool:
    """Whether a text has a character that ends a line, or another control character but the tab."""
    return not text.isprintable() and _BREAKING.search(text) is not None


def check_lines(texts: Iterable[str], where: str) -> None:
    """Checks that each of the texts fits on a line.

    Args:
        texts: values of a vocabulary, or ids.
        where: they are, for the message.

    Raises:
        DataError: one of them has a line break or another control character.
    """
    for text in texts:
        if breaks_lines(text):
            raise DataError(
                f"{where}: found {text!r}; a value must have no line break and no other control "
                "character, because values are stored one on a line. Remove the character, here "
                "and where the value is asked for."
            )


def shown(text: str) -> str:
    r"""The text as a terminal may print it: control characters but line break and tab as `\x1b`.

    Titles come from other people's data, and a terminal obeys escape sequences.
    """
    return _BREAKING.sub(_escaped, text)


def json_line(value: Any) -> str:
    """JSON on one line, whatever its reader takes for the end of a line; safe for a terminal."""
    text = json.dumps(value, ensure_ascii=False)
    return _BREAKING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character if character == "\n" else character.encode("unicode_escape").decode()
