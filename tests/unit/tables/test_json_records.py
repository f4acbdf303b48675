import bz2
import json

import pytest

from tests.unit.tables.reading import read_json
from tfrs_twotower.tables.files import MalformedTable

OBJECTS = [{"id": "1", "text": "x"}, {"id": "2", "tags": ["a", "b"]}, {"id": 3}]
CELLS = [("1", None), ("2", ["a", "b"]), (3, None)]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(map(json.dumps, OBJECTS)),
        "\ufeff\r\n" + "\r\n\r\n".join(map(json.dumps, OBJECTS)) + "\r\n",
        json.dumps(OBJECTS),
        "\ufeff\n" + json.dumps(OBJECTS, indent=2) + "\n\n",
    ],
)
@pytest.mark.parametrize("packed", [str.encode, lambda text: bz2.compress(text.encode())])
def test_lines_and_arrays_hold_the_same(text, packed):
    records, said = read_json(packed(text), ["id", "tags"])
    assert [values for _, values, _ in records] == CELLS
    assert said == []


def test_an_array_longer_than_what_is_read_at_once():
    objects = [{"id": n, "text": "x" * (n % 300)} for n in range(20_000)]
    objects[777]["text"] = "y" * 3_000_000
    records, _ = read_json(json.dumps(objects), ["id", "text"])
    assert records == [(n + 1, (o["id"], o["text"]), "") for n, o in enumerate(objects)]
    assert read_json("[]", ["id"]) == ([], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1} {"a": 2}]', "element 1 of the array is not JSON: found .* where a comma or ]"),
        ('[{"a": 1},\n{"a": 2}', "element 2 of the array is not JSON"),
        ('[{"a": 1}, {"a"', "element 2 of the array is not JSON"),
        ('[{"a": 1}]\n[{"a": 2}]', "text follows after the array of 1 objects"),
    ],
)
def test_an_array_that_is_not_whole(text, message):
    with pytest.raises(MalformedTable, match=message):
        read_json(text, ["a"])


def test_half_of_a_surrogate_pair_is_repaired_except_in_an_id():
    lines = (
        r'{"id": "1", "text": "cut \ud83d", "tags": ["\udc00"], "other": "\ud83d"}',
        r'{"id": "2", "text": "whole \ud83d\ude00", "other": "\ud83d"}',
        r'{"id": "\ud83d", "text": "x"}',
    )
    records, said = read_json("\n".join(lines), ["id", "text", "tags"], ids=["id"])
    assert records == [
        (1, ("1", "cut \ufffd", ["\ufffd"]), ""),
        (2, ("2", "whole \U0001f600", None), ""),
        (3, None, "half of a surrogate pair, which is no Unicode"),
    ]
    (sentence,) = said
    assert sentence.startswith("1 records have text with half of a surrogate pair, the first in t.")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (r'{"a": "x\u0000y"}', "holds a NUL character"),
        (r'{"a": ["\ud83d", "\u0000"]}', "holds a NUL character"),
        ('{"a": 1, "b": 2, "a": 3}', "a key stands twice in the object"),
        ("[" * 100_000, "not a JSON value"),
        ("{", "not a JSON value"),
        ('"a"', "not a JSON object"),
    ],
)
def test_a_bad_record_is_the_only_one_lost(line, reason):
    records, _ = read_json('{"a": "good"}\n' + line + '\n{"a": 2}', ["a"])
    assert records == [(1, ("good",), ""), (2, None, reason), (3, (2,), "")]
    if line.startswith("{") and line.endswith("}"):
        records, _ = read_json('[{"a": "good"}, ' + line + ', {"a": 2}]', ["a"])
        assert records == [(1, ("good",), ""), (2, None, reason), (3, (2,), "")]
