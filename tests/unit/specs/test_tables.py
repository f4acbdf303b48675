import pytest
from pydantic import ValidationError

from tfrs_twotower.specs import EntityTable
from tfrs_twotower.specs.tables import format_of_name


def table(path="t.csv", **options):
    return EntityTable(path=path, id="id", **options)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("a/t.csv", "csv"),
        ("t.tab.gz", "tsv"),
        ("t.json", "jsonl"),
        ("t.ndjson.zst", "jsonl"),
        ("t.jsonl.bz2", "jsonl"),
        ("events.parquet/", "parquet"),
        ("day=*/*.parquet", "parquet"),
        ("t.tfrecord.gz", "tfrecord"),
        ("t.dat", None),
        ("t.gz", None),
    ],
)
def test_a_name_tells_the_format(path, named):
    assert format_of_name(path) == named
    if named:
        assert table(path).file_format == named
    else:
        with pytest.raises(ValueError, match="add format: one of csv, tsv, jsonl, parquet, tfrec"):
            table(path).file_format  # noqa: B018


def test_options_of_text_tell_that_it_is_delimited():
    assert table("ratings.dat", delimiter="::").file_format == "csv"
    assert table("qrels.txt", columns=["id", "label"]).file_format == "csv"
    assert table("t.dat", format="tsv", delimiter=";").file_format == "tsv"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "cp12525"}, "Python knows no such text encoding"),
        ({"encoding": "rot13"}, "Python knows no such text encoding"),
        ({"columns": ["id", "id"]}, "columns has a name twice: id, id"),
        ({"columns": []}, "at least 1 item"),
        ({"delimiter": "::", "quote": "'"}, "fields that '::' separates cannot be quoted"),
        ({"delimiter": "'", "quote": "'"}, "delimiter cannot be a line end or the quote"),
        ({"delimiter": "\n"}, "delimiter cannot be a line end or the quote"),
        ({"delimiter": ""}, "at least 1 character"),
        ({"quote": "''"}, "at most 1 character"),
        ({"decimal": ";"}, "Input should be '.' or ','"),
        ({"path": "t.jsonl", "columns": ["id"]}, "for csv and tsv, .* the format is jsonl"),
        ({"path": "t.parquet", "encoding": "cp1252"}, "encoding is for text; the format is parq"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValidationError, match=message):
        table(**options)
