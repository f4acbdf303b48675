import gzip
import io
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipelines.transforms.sharded_output import frame, read_frames
from pipelines.transforms.table_files import (
    describe_position,
    parquet_number,
    position_of,
    read_table_file,
)
from tfrs_twotower.tables.files import UnreadableFile


def read(path, file_format, columns):
    return list(read_table_file(str(path), file_format, columns))


def test_csv_with_quotes_and_newlines_in_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('id,text\r\n1,"a, ""b""\nnext"\n\n2,c\n', encoding="utf-8")
    assert read(path, "csv", ["text", "id"]) == [
        (2, ('a, "b"\nnext', "1"), ""),
        (5, ("c", "2"), ""),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfid\n1\n")
    assert read(path, "csv", ["id"]) == [(2, ("1",), "")]


def test_a_tsv_has_no_quotes(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text('id\ttext\n1\t"odd\n', encoding="utf-8")
    assert read(path, "tsv", ["text"]) == [(2, ('"odd',), "")]


@pytest.mark.parametrize(
    ("file_format", "content"),
    [
        ("csv", b"id,text\n1,good\n2,b\xffd\n3,good\n"),
        (
            "jsonl",
            b'\n{"id":"1","text":"good"}\n{"id":"2","text":"\xff"}\n{"id":"3","text":"good"}\n',
        ),
    ],
)
def test_a_broken_line_is_the_only_one_lost(tmp_path, file_format, content):
    path = tmp_path / "t"
    path.write_bytes(content)
    records = read(path, file_format, ["id"] if file_format == "jsonl" else ["id", "text"])
    assert [values and values[0] for _, values, _ in records] == ["1", None, "3"]
    assert [reason for _, _, reason in records] == ["", "not valid UTF-8", ""]
    assert records[1][0] == 3


def test_records_of_the_wrong_form(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,text\n1\n", encoding="utf-8")
    assert "another number of fields than the header's 2" in read(path, "csv", ["id"])[0][2]
    path.write_text('{"id": 1\n[1]\n{"id": 12}\n', encoding="utf-8")
    assert read(path, "jsonl", ["id", "x"]) == [
        (1, None, "not a JSON value"),
        (2, None, "not a JSON object"),
        (3, (12, None), ""),
    ]


def test_parquet_by_row_group(tmp_path):
    path = tmp_path / "t.parquet"
    table = pa.table(
        {"id": [1, 2, 3], "tags": [["a"], [], None], "at": pd.to_datetime([0, 1, 2], unit="s")}
    )
    pq.write_table(table, path, row_group_size=2)
    records = read(path, "parquet", ["tags", "id", "at", "absent"])
    assert [number for number, _, _ in records] == [0, 1, parquet_number(1, 0)]
    assert [values[:2] for _, values, _ in records] == [(["a"], 1), ([], 2), (None, 3)]
    assert [values[2].second for _, values, _ in records] == [0, 1, 2]
    assert records[0][1][3] is None


def test_gzip(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"id": "1"}).encode()))
    assert read(path, "jsonl", ["id"]) == [(1, ("1",), "")]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UnreadableFile, match="cannot be read to its end"):
        read(path, "jsonl", ["id"])


def test_tfrecord(tmp_path):
    path = tmp_path / "t.tfrecord"
    features = {
        "id": tf.train.Feature(int64_list=tf.train.Int64List(value=[7])),
        "tags": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", b"b"])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())
        writer.write(b"\xff\xff")
    assert read(path, "tfrecord", ["id", "tags"]) == [
        (1, (7, ["a", "b"]), ""),
        (2, None, "not a tf.train.Example"),
    ]


def test_tensorflow_reads_our_frames(tmp_path):
    path = tmp_path / "t.tfrecord"
    payloads = [b"", b"a" * 1000]
    path.write_bytes(b"".join(frame(payload) for payload in payloads))
    assert [one.numpy() for one in tf.data.TFRecordDataset(str(path))] == payloads


def test_damaged_frames():
    good = frame(b"abc")
    damaged = good[:12] + b"x" + good[13:]
    assert list(read_frames(io.BytesIO(damaged + good))) == [None, b"abc"]
    with pytest.raises(ValueError, match="a record's length does not match"):
        list(read_frames(io.BytesIO(b"\x01" + good[1:])))
    with pytest.raises(ValueError, match="ends inside a record"):
        list(read_frames(io.BytesIO(good[:-1])))


FILES = ("a.csv", "b.csv")


def test_positions_sort_like_reading_the_files():
    places = [(0, 2), (0, 10), (1, 1)]
    assert sorted(places) == places
    positions = [position_of(*place) for place in places]
    assert sorted(positions) == positions


def test_positions_in_words():
    assert describe_position(position_of(1, 17), FILES, "csv") == "b.csv:17"
    assert describe_position(position_of(0, 3), FILES, "tfrecord") == "a.csv: record 3"
    parquet = position_of(0, parquet_number(2, 5))
    assert describe_position(parquet, FILES, "parquet") == "a.csv: row group 2, row 5"
