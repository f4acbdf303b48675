import base64
import json

import numpy as np
import pytest

from serving.server.json_values import answer_of, arrays_of, read_body
from serving.server.refusals import Refusal
from tests.fixtures.served_model import REQUEST
from tests.unit.serving.server.signature_of import basket, text

ROW = {"name": "a", "recent": ["", "", ""], "size": 1, "when": 2, "exclude_ids": [""]}


def arrays(document, signature=None):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    request = read_body(body)
    return arrays_of(request, signature or basket())


def test_columns_and_rows_are_the_same_arrays():
    rows = [{name: values[number] for name, values in REQUEST.items()} for number in range(2)]
    by_row, by_column = arrays({"instances": rows}), arrays({"inputs": REQUEST})
    for name, values in by_column.items():
        np.testing.assert_array_equal(by_row[name], values)
        assert by_row[name].dtype == values.dtype
    assert by_column["recent"].tolist() == [[b"x", b"y", b""], [b"", b"", b""]]
    assert by_column["size"].dtype == np.float32


def test_a_plain_list_is_the_only_input():
    raw = base64.b64encode(b"\xff\x00").decode()
    assert arrays({"instances": ["a", {"b64": raw}]}, text())["text"].tolist() == [
        b"a",
        b"\xff\x00",
    ]
    assert arrays({"instances": [{"text": "ä"}]}, text())["text"].tolist() == ["ä".encode()]
    assert arrays({"inputs": ["a"]}, text())["text"].tolist() == [b"a"]


def test_a_missing_number_is_nan():
    assert np.isnan(arrays(b'{"instances": [%s]}' % json.dumps({**ROW, "size": np.nan}).encode())
                    ["size"][0])  # fmt: skip


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "JSON Parse error"),
        (b"\xff", "JSON Parse error"),
        (b'{"instances": [', "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b'{"instances": [%s]}' % (b"9" * 5000), "JSON Parse error"),
        ([], "found Array. Is not object"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": {}, "instances": []}, "only one of 'inputs' or 'instances'"),
        ({"signature_name": 1, "inputs": {}}, "must be a string value"),
        ({"instances": []}, "at least one value"),
        ({"instances": {}}, "at least one value"),
        ({"instances": ["a"]}, "instances is a plain list, but expecting an object"),
        ({"inputs": ["a"]}, "inputs is a plain value/list, but expecting an object"),
        ({"instances": [ROW, "a"]}, "Failed to process element: 1 .* found String"),
        ({"instances": [{**ROW, "extra": 1}]}, "found exclude_ids,extra,name"),
        ({"instances": [{"name": "a"}]}, "keys must be equal to: exclude_ids,name,recent"),
        ({"inputs": {"name": ["a"]}}, "Missing named input: recent in 'inputs' object"),
        ({"instances": [{**ROW, "size": "1"}]}, "'size' is not of expected type float32.*String"),
        ({"instances": [{**ROW, "size": True}]}, "found Bool"),
        ({"instances": [{**ROW, "size": None}]}, "found Null"),
        ({"instances": [{**ROW, "size": 1e39}]}, "beyond the largest float32"),
        ({"instances": [{**ROW, "size": -(1 << 128)}]}, "beyond the largest float32"),
        ({"instances": [{**ROW, "size": 10**400}]}, "beyond the largest float32"),
        ({"instances": [{**ROW, "when": 2.0}]}, "'when' is not of expected type int64"),
        ({"instances": [{**ROW, "when": 1 << 63}]}, "more than 64 bits"),
        ({"instances": [{**ROW, "name": 5}]}, "'name' is not of expected type string"),
        ({"instances": [{**ROW, "name": "\ud800"}]}, "'name' is not of expected type string"),
        ({"instances": [{**ROW, "name": {"b64": "!"}}]}, "'name' is not of expected type"),
        ({"instances": [{**ROW, "name": {"b64": "abcde"}}]}, "'name' is not of expected type"),
        (b'{"inputs": {"name": ["\xff"]}}', "Missing named input: recent"),
        ({"instances": [{**ROW, "name": {"b64": "a", "c": 1}}]}, "found Object"),
        ({"instances": [{**ROW, "recent": ["", ""]}]}, r"shape \[1, 2\]; expected \[n, 3\]"),
        ({"instances": [{**ROW, "name": ["a"]}]}, r"shape \[1, 1\]; expected \[n\]"),
        ({"instances": [ROW, {**ROW, "exclude_ids": ["", "a"]}]}, "one level must have one"),
        ({"instances": [{**ROW, "exclude_ids": []}]}, "at least one row and one column"),
        ({"instances": [{**ROW, "name": "x" * 70_000}]}, "a string of 70000 bytes"),
    ],
)
def test_what_does_not_fit_is_refused(document, message):
    with pytest.raises(Refusal, match=message) as caught:
        arrays(document)
    assert caught.value.http_status == 400
    assert len(caught.value.message) < 1100


@pytest.mark.parametrize(
    "number", [16_777_217, 1 << 60, (1 << 64) + 1, (1 << 128) - (1 << 104), 3.4028235e38, -1e38]
)
def test_a_number_is_rounded_to_the_nearest_float32(number):
    found = arrays({"inputs": {**REQUEST, "size": [number, 0.5]}})["size"]
    assert found.dtype == np.float32
    assert found[0] == np.float32(float(number))


def test_bytes_that_are_no_text_are_refused_within_the_json_and_ignored_behind_it():
    body = json.dumps({"inputs": ["a"]}).encode()
    assert arrays(body + b"\xff\x00}", text())["text"].tolist() == [b"a"]
    assert arrays(b"\xef\xbb\xbf\r\n " + body, text())["text"].tolist() == [b"a"]
    with pytest.raises(Refusal, match="'text' is not of expected type string"):
        arrays(body.replace(b"a", b"\xff"), text())


def test_base64_may_be_broken_into_lines_and_without_padding():
    for written in ("AAH/", "AA H/\n", "AAE", "AAE="):
        expected = base64.b64decode(written + "==")
        assert arrays({"inputs": [{"b64": written}]}, text())["text"].tolist() == [expected]


def test_a_float_is_written_with_the_digits_that_it_has():
    scores = np.array([0.1, 9e6, 3e-5, 1 / 3, 16777216.0], np.float32)
    assert answer_of({"scores": scores}, rows=False) == (
        b'{"outputs": [0.1, 9000000.0, 3e-05, 0.33333334, 16777216.0]}'
    )


def test_answers():
    scores = np.array([[0.1, -3.4028235e38]], np.float32)
    ids = np.array([[b"a", b"\xff"]], object)
    body = json.loads(answer_of({"ids": ids, "scores": scores}, rows=True))
    np.testing.assert_array_equal(np.array(body["predictions"][0]["scores"], np.float32), scores[0])
    assert body["predictions"][0]["ids"] == ["a", "\ufffd"]
    assert json.loads(answer_of({"raw_bytes": ids}, rows=False)) == {
        "outputs": [[{"b64": "YQ=="}, {"b64": "/w=="}]]
    }
