"""Each way in which a file of a table can be wrong, and the messages about it."""

import copy
import gzip

import pytest

from tests.integration.preprocess_world import SPEC, random_events, run, write_tables
from tfrs_twotower.errors import DataError

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            "star",
            r"interactions: .*events.csv: missing column 'star' \(did you mean 'stars'\?\); "
            r"found: at, candidate, query, session, stars. Correct the column",
        ),
        ("zebra", "missing column 'zebra'; found"),
    ],
)
def test_a_missing_column(tmp_path, column, message):
    write_tables(tmp_path, random_events(0))
    spec = copy.deepcopy(SPEC)
    spec["interactions"]["label"] = column
    with pytest.raises(DataError, match=message):
        run(tmp_path, spec=spec)


def test_a_missing_column_in_a_later_file_of_a_glob(tmp_path):
    write_tables(tmp_path, random_events(0))
    (tmp_path / "events2.csv").write_text("query,candidate\n", encoding="utf-8")
    spec = copy.deepcopy(SPEC)
    spec["interactions"]["path"] = "events*.csv"
    with pytest.raises(DataError, match=r"events2.csv: missing column 'at', 'stars', 'session'"):
        run(tmp_path, spec=spec)


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        (b"", "an empty file"),
        (b"query,candidate,at,stars,session\n", "a header but no record"),
    ],
)
def test_a_file_without_records(tmp_path, content, holds):
    write_tables(tmp_path, random_events(0))
    (tmp_path / "events.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"interactions: .*events.csv: found {holds}; expected a"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("mark", "encoding", "message"),
    [
        ("\ufeff", "utf-16-le", "byte order mark FF FE of UTF-16. Save it as UTF-8, .*`iconv -f "),
        ("\ufeff", "utf-16-be", "byte order mark FE FF of UTF-16. Save it as UTF-8, .*`iconv -f "),
        ("", "utf-16-le", "its first line holds NUL bytes, .*iconv -f UTF-16LE -t UTF-8`.$"),
        ("", "utf-16-be", "its first line holds NUL bytes, .*iconv -f UTF-16BE -t UTF-8`.$"),
    ],
)
def test_a_file_that_is_not_utf8(tmp_path, mark, encoding, message):
    write_tables(tmp_path, random_events(0))
    path = tmp_path / "events.csv"
    path.write_bytes((mark + path.read_text(encoding="utf-8")).encode(encoding))
    message = f"^interactions: .*events.csv: the file is not UTF-8: .*{message}"
    with pytest.raises(DataError, match=message):
        run(tmp_path)


def test_a_missing_column_where_the_header_is_not_utf8(tmp_path):
    write_tables(tmp_path, random_events(0))
    path = tmp_path / "queries.csv"
    path.write_bytes(path.read_bytes().replace(b"colour", b"c\xf6lour", 1))
    message = r"found: age, c\ufffdlour, query\. The header is not UTF-8\. Save it as UTF-8"
    with pytest.raises(DataError, match=message):
        run(tmp_path)


@pytest.mark.parametrize(
    ("separator", "message"),
    [
        (";", "separated by `;`, not by commas: write the file with commas .* name .tsv.$"),
        ("\t", r"separated by tabs, not by commas: .* set interactions.format: tsv in the"),
    ],
)
def test_another_separator(tmp_path, separator, message):
    write_tables(tmp_path, random_events(0))
    path = tmp_path / "events.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",", separator), encoding="utf-8")
    with pytest.raises(DataError, match=f"missing column .* The columns seem to be {message}"):
        run(tmp_path)


def test_no_file(tmp_path):
    write_tables(tmp_path, random_events(0))
    (tmp_path / "queries.csv").unlink()
    with pytest.raises(DataError, match=r"queries: no file matches .*queries.csv.*TWOTOWER_DATA"):
        run(tmp_path)


def test_a_file_that_is_not_of_its_format(tmp_path):
    write_tables(tmp_path, random_events(0))
    spec = copy.deepcopy(SPEC)
    spec["interactions"]["format"] = "parquet"
    with pytest.raises(DataError, match=r"events.csv: cannot be read as parquet"):
        run(tmp_path, spec=spec)


def test_a_file_that_was_cut_off(tmp_path):
    write_tables(tmp_path, random_events(0, number=5000))
    whole = gzip.compress((tmp_path / "events.csv").read_bytes())
    (tmp_path / "events.csv.gz").write_bytes(whole[: len(whole) // 2])
    spec = copy.deepcopy(SPEC)
    spec["interactions"]["path"] = "events.csv.gz"
    message = (
        r"^interactions: .*events.csv.gz: cannot be read to its end: .* records. Check the file"
    )
    with pytest.raises(DataError, match=message) as caught:
        run(tmp_path, spec=spec)
    assert "Traceback" not in str(caught.value)
    assert "while running" not in str(caught.value)
