import bz2
import gzip
import lzma

import pyarrow as pa
import pytest

from tfrs_twotower.errors import DataError
from tfrs_twotower.tables.decimals import from_decimal_comma
from tfrs_twotower.tables.files import (
    find_local_files,
    open_local,
    partition_values,
    without_hidden,
)
from tfrs_twotower.tables.line_lists import read_ids, read_pieces


def found(root, path):
    return [name.removeprefix(f"{root}/") for name in find_local_files(root, path)]


def test_files_directories_and_globs(tmp_path, monkeypatch):
    names = ("t/day=1/p.csv", "t/day=2/p.csv", "t/_SUCCESS", "t/.p.crc", "t/_tmp/p.csv", "_a.csv")
    for name in (*names, "t/day=2/.q.csv", "e[1].csv", "e1.csv", "e2.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    data = ["t/day=1/p.csv", "t/day=2/p.csv"]
    for path in ("t", "t/", "t/*/*.csv", "t/**/*.csv", "t/*", "t/day=*", str(tmp_path / "t")):
        assert found(tmp_path, path) == data, path
    assert found(tmp_path, "e[1].csv") == ["e[1].csv"]  # a real name, before the glob
    assert found(tmp_path, "e[12].csv") == ["e1.csv", "e2.csv"]
    assert found(tmp_path, "*.csv") == ["e1.csv", "e2.csv", "e[1].csv"]
    assert found(tmp_path, "_a.csv") == found(tmp_path, "_*.csv") == ["_a.csv"]
    assert found(tmp_path, "none*.csv") == []
    monkeypatch.setenv("HOME", str(tmp_path / "t"))
    assert found(tmp_path, "~/day=1") == data[:1]


def test_a_root_with_characters_of_a_glob(tmp_path):
    root = tmp_path / "a [b]*?"
    root.mkdir()
    (root / "e1.csv").write_text("x")
    assert found(root, "e*.csv") == found(root, "e1.csv") == ["e1.csv"]


def test_hidden_names_of_a_remote_place():
    names = ["s3://b/t/_SUCCESS", "s3://b/t/p.csv", "s3://b/t/.p.crc"]
    assert without_hidden(names, "s3://b/t/*") == ["s3://b/t/p.csv"]


def test_columns_in_a_path():
    path = "/x/day=2024-05-31/town=S%C3%A3o%20Paulo/kind=__HIVE_DEFAULT_PARTITION__/a=b.csv"
    assert partition_values(path) == {"day": "2024-05-31", "town": "São Paulo", "kind": None}


@pytest.mark.parametrize(
    "compress",
    [
        lambda data: data,
        lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]),
        bz2.compress,
        lzma.compress,
        lambda data: bytes(pa.compress(data, "zstd", asbytes=True)),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_the_first_bytes_tell_the_compression(tmp_path, compress, name):
    data = b"id,text\n" + b"1,x\n" * 10_000
    (tmp_path / name).write_bytes(compress(data))
    with open_local(str(tmp_path / name)) as stream:
        assert stream.read() == data


@pytest.mark.parametrize(
    "content",
    [
        b"b\na\n",
        b"\xef\xbb\xbf b \r\n\r\na\r\na",
        b"b\ra\r",
        "b\na".encode("utf-16"),
        gzip.compress(b"a\nb\n", mtime=0),
        b'"a"\n"b"\n',
    ],
)
def test_lists_of_ids(tmp_path, content):
    (tmp_path / "ids.txt").write_bytes(content)
    assert read_ids(str(tmp_path / "ids.txt")) == ["a", "b"]


def test_ids_with_quotes_commas_and_line_separators_in_them(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text('5" disk\n"odd\na,b\nx\u2028y\n', encoding="utf-8")
    assert read_ids(str(path)) == ['"odd', '5" disk', "a,b", "x\u2028y"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\tc\n", r"ids.txt:2: several fields; expected a candidate id in each line"),
        (b"a\n\xff\n", r"ids.txt:2: not valid UTF-8; expected"),
        (b"a\nb\0c\n", r"ids.txt:2: holds a NUL character; expected"),
        (b"PAR1", "ids.txt: it is a Parquet file"),
        (gzip.compress(b"a\n" * 9, mtime=0)[:-4], "ids.txt: cannot be read to its end"),
        ("Käse\nMüller\nStraße\n".encode("cp1252"), "not UTF-8 .*`iconv -f cp1252 -t UTF-8`"),
    ],
)
def test_files_that_list_no_ids(tmp_path, content, message):
    (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_ids(str(tmp_path / "ids.txt"))
    assert "feature spec" not in str(caught.value)
    with pytest.raises(DataError, match=r"absent.txt: cannot be read"):
        read_ids(str(tmp_path / "absent.txt"))


def test_lists_of_pieces_keep_every_sign_but_line_ends(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\ufeff[PAD]\r\n[UNK]\r\n\u2028\r\n\x85\r\n".encode())
    assert read_pieces(path) == ["[PAD]", "[UNK]", "\u2028", "\x85"]


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1,5", 1.5),
        ("1.234,50", 1234.5),
        ("-1.234.567,8", -1234567.8),
        ("1 234,5", 1234.5),
        ("1\u202f234,5", 1234.5),
        ("1'234,5", 1234.5),
        ("1.234", 1234.0),
        ("7", 7.0),
        ("2,5e3", 2500.0),
        ("1\u2009234,5", 1234.5),
        ("\u22122,5", -2.5),
        (",5", 0.5),
        ("5,", 5.0),
    ],
)
def test_numbers_with_a_decimal_comma(written, number):
    assert float(from_decimal_comma(written)) == number


def test_other_text_stays_and_a_decimal_point_is_refused():
    for text in ("", "nan", "1.234,5 EUR", "2024-05-31", "1,2,3", "1.234 567,5", "--1,5"):
        assert from_decimal_comma(text) == text
    with pytest.raises(ValueError, match="a number with a decimal point where decimal: ',' is"):
        from_decimal_comma("1.5")
