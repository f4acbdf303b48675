"""Which texts fit on a line, by everything that ends one; how a terminal shows the others."""

import io
import json
import sys

import pytest
import tensorflow as tf

from tfrs_twotower.data.lines import breaks_lines, check_lines, json_line, shown
from tfrs_twotower.errors import DataError


def test_everything_that_ends_a_line_breaks_one():
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    enders = [c for c in characters if len(f"a{c}b".splitlines()) > 1]
    enders += [c for c in characters[:256] if len(list(io.StringIO(f"a{c}b", newline=None))) > 1]
    assert {"\n", "\r", "\x0b", "\x85", "\u2028"} <= set(enders)
    assert [c for c in enders if not breaks_lines(f"a{c}b")] == []
    assert all(breaks_lines(f"a{c}") for c in ("\0", "\x1b", "\x7f", "\x9b"))
    assert not any(
        map(breaks_lines, ("", "a b", "tab\tbed", "caf\u00e9", "no\u00a0break", "\u200b"))
    )


def test_tensorflow_reads_lines_that_do_not_break_as_they_are(tmp_path):
    ids = ["a", " b ", "tab\tbed", "\u30d1\u30f3\u30c0", "no\u00a0break", "\\x1b"]
    path = tmp_path / "ids.txt"
    path.write_bytes("".join(f"{id_}\n" for id_ in ids).encode())
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )  # fmt: skip
    assert not any(map(breaks_lines, ids))
    assert table.lookup(tf.constant(ids)).numpy().tolist() == list(range(len(ids)))


def test_the_value_is_named():
    check_lines(["a", "b\tc"], "vocabulary 'x'")
    with pytest.raises(DataError, match=r"vocabulary 'x': found 'a\\nb'; .*no line break"):
        check_lines(["a", "a\nb"], "vocabulary 'x'")


def test_a_terminal_shows_control_characters_and_does_not_obey_them():
    assert shown("a\x1b[31mred\x9b\r\u2028") == "a\\x1b[31mred\\x9b\\r\\u2028"
    assert shown("two\nlines\tcaf\u00e9") == "two\nlines\tcaf\u00e9"
    value = {"title": "\x1b]0;\x9b\x7f\u2028caf\u00e9"}
    assert json.loads(json_line(value)) == value
    assert not breaks_lines(json_line(value))
    assert "caf\u00e9" in json_line(value)
