import json

import pandas as pd
import pytest

from pipelines.init_spec.samples import read_sample
from tfrs_twotower.errors import DataError


def test_reads_only_the_first_records(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},x\n" for i in range(100)))
    sample = read_sample(path, max_records=10)
    assert (sample.num_records, sample.complete) == (10, False)
    assert sample.columns["a"] == [str(i) for i in range(10)]
    assert read_sample(path).complete


def test_parquet_is_cut_too_and_nanoseconds_are_read(tmp_path):
    path = tmp_path / "t.parquet"
    times = pd.to_datetime(["2024-01-01T00:00:00.000000001"] * 5)
    pd.DataFrame({"t": times, "x": [1.0, None, 2.0, 3.0, 4.0]}).to_parquet(path)
    sample = read_sample(path, max_records=2)
    assert (sample.num_records, sample.complete) == (2, False)
    assert sample.columns["t"][0].year == 2024
    assert sample.columns["x"] == [1.0, None]


def test_byte_order_mark_empty_cells_and_broken_lines(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text('\ufeffa\tb\n1\t"q\n2\n3\t\n', encoding="utf-8")
    assert read_sample(path).columns == {"a": ["1", "3"], "b": ['"q', None]}


def test_json_lines_with_gaps(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"a": 1}) + "\nnot json\n[1]\n" + json.dumps({"b": [2]}) + "\n")
    assert read_sample(path).columns == {"a": [1, None], "b": [None, [2]]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"x", "found a suffix that names no format, and text with one column"),
        ("t.xlsx", b"PK\x03\x04", r"t\.xlsx: it is a zip archive, such as an Excel workbook"),
        ("t.csv", b"", "found no records"),
        ("t.csv", b'a,b\n"1,2\n', "t.csv:2: the quoted field that begins here, in column 'a', is"),
        ("t.parquet", b"PAR1", "t.parquet: cannot be read to its end"),
        ("t.csv.gz", b"\x1f\x8bplain", "t.csv.gz: cannot be read to its end"),
    ],
)
def test_unreadable_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_sample(path)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_sample(tmp_path / "absent.csv")
