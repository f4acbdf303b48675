import bz2
import gzip
import json

import pytest
import tensorflow as tf

from serving.client.request_inputs import Input, as_columns, read_queries
from tfrs_twotower.errors import DataError

INPUTS = {
    "user_id": Input("DT_STRING", None),
    "history": Input("DT_STRING", 3),
    "age": Input("DT_FLOAT", None),
}


def write_lines(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_queries_stand_evenly_in_their_file(tmp_path):
    path = write_lines(tmp_path / "q.jsonl", *(json.dumps({"user_id": i}) for i in range(9)), "")
    assert [query["user_id"] for query in read_queries(path, 3)] == [0, 4, 8]
    assert len(read_queries(path, 100)) == 9


def test_queries_in_an_array_or_compressed_are_the_same(tmp_path):
    queries = [{"user_id": i} for i in range(9)]
    array = tmp_path / "q.json"
    array.write_bytes(bz2.compress(("\ufeff" + json.dumps(queries, indent=1)).encode()))
    assert read_queries(array, 3) == [queries[0], queries[4], queries[8]]


def test_columns_have_one_value_or_a_list():
    queries = [{"user_id": "a", "history": ["x"], "town": "Oslo"}, {"user_id": [b"b"], "age": []}]
    assert as_columns(queries, INPUTS) == {
        "user_id": ["a", b"b"],
        "history": [["x"], []],
        "age": [None, None],
    }


def test_test_queries_of_a_working_directory(tmp_path):
    example = tf.train.Example()
    example.features.feature["user_id"].bytes_list.value.append(b"u")
    example.features.feature["history"].bytes_list.value.extend([b"x", b"y"])
    example.features.feature["age"].float_list.value.append(7.0)
    example.features.feature["_relevant"].bytes_list.value.append(b"z")
    plain = tmp_path / "plain"
    with tf.io.TFRecordWriter(str(plain)) as writer:
        writer.write(example.SerializeToString())
    shard = tmp_path / "test-00000-of-00001.tfrecord.gz"
    shard.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_queries(tmp_path, 5) == [{"user_id": [b"u"], "history": [b"x", b"y"], "age": [7.0]}]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], r"q\.jsonl: holds no query"),
        (["{}", "{"], r"line 2: not a JSON value; expected an object"),
        (['["a"]'], "line 1: not a JSON object; expected an object of feature values"),
        (['{"a": "\\ud83d"}'], "line 1: half of a surrogate pair, which is no Unicode"),
        (['{"a": 1, "a": 2}'], "line 1: a key stands twice in the object"),
        (['[{"a": 1}, {]'], r"q\.jsonl: element 2 of the array is not JSON"),
    ],
)
def test_lines_that_are_no_queries(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read_queries(write_lines(tmp_path / "q.jsonl", *lines), 5)


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        read_queries(tmp_path / "none.jsonl", 5)
