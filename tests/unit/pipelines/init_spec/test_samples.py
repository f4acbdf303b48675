import json

import pandas as pd
import pytest

from pipelines.init_spec.samples import read_sample
from tests.fixtures.spark_directory import write_as_spark
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs import EntityTable


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


def test_a_blank_first_line_is_no_header(tmp_path):
    """Preprocessing skips it too."""
    (tmp_path / "t.csv").write_text("\n\na,b\n1,x\n")
    assert read_sample(tmp_path / "t.csv").columns == {"a": ["1"], "b": ["x"]}


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        (
            "t.csv",
            "id;price\nKäse;1,5\nMüll;1.200,5\n".encode(),
            {"delimiter": ";", "decimal": ","},
        ),
        (
            "t.csv",
            "id,price\nKäse,1.5\nMüll,1200.5\n".encode("cp1252"),
            {"encoding": "cp1252"},
        ),
        ("t.tsv", "id\tprice\nKäse\t1.5\nMüll\t1200.5\n".encode("utf-16"), {"encoding": "utf-16"}),
        (
            "t.tsv",
            '"id"\t"price"\n"Käse"\t"1.5"\n"Müll"\t"1200.5"\n'.encode(),
            {"quote": '"'},
        ),
        (
            "t.dat",
            "id::price\nKäse::1.5\nMüll::1200.5\n".encode(),
            {"format": "csv", "delimiter": "::"},
        ),
        (
            "t.json",
            '[{"id": "Käse", "price": "1.5"}, {"id": "Müll", "price": "1200.5"}]'.encode(),
            {},
        ),
        (
            "t.txt",
            b'{"id": "K\\u00e4se", "price": "1.5"}\n{"id": "M\\u00fcll", "price": "1200.5"}\n',
            {"format": "jsonl"},
        ),
    ],
)
def test_forms_are_seen_and_become_options_of_the_spec(tmp_path, name, content, options):
    (tmp_path / name).write_bytes(content)
    sample = read_sample(tmp_path / name)
    assert sample.columns == {"id": ["Käse", "Müll"], "price": ["1.5", "1200.5"]}
    assert sample.options == options
    EntityTable(path=str(tmp_path / name), id="id", **options)


def test_names_are_invented_where_there_is_no_header(tmp_path):
    (tmp_path / "t.dat").write_text("7::31::5::881250949\n8::32::4::881250950\n")
    sample = read_sample(tmp_path / "t.dat")
    names = ["query_id", "candidate_id", "rating", "timestamp"]
    assert sample.options == {"format": "csv", "columns": names, "delimiter": "::"}
    assert [sample.columns[name] for name in names] == [
        ["7", "8"],
        ["31", "32"],
        ["5", "4"],
        ["881250949", "881250950"],
    ]


def test_a_directory_as_spark_writes_it(tmp_path):
    (tmp_path / "t.csv").write_text("a,day\n1,mon\n2,tue\n")
    write_as_spark(tmp_path / "t.parquet", tmp_path / "t.csv", "day")
    sample = read_sample(tmp_path / "t.parquet")
    assert sample.columns == {"day": ["mon", "tue"], "a": ["1", "2"]}
    assert sample.options == {}
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-0.csv").write_text("")
    (tmp_path / "parts" / "part-1.csv").write_text("a;b\n1;x\n")
    sample = read_sample(tmp_path / "parts")
    assert sample.columns == {"a": ["1"], "b": ["x"]}
    assert sample.options == {"format": "csv", "delimiter": ";"}
