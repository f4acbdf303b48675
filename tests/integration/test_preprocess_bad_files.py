"""Each way in which a file of a table can be wrong, and the messages about it."""

import bz2
import copy
import gzip

import pytest

from tests.fixtures.recorder import Recorder
from tests.fixtures.spark_directory import write_as_spark
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


def test_a_stray_quote_is_refused_with_its_line_and_column(tmp_path):
    """Of 240 events those from line 101 on were lost, in a column that the spec does not read."""
    write_tables(tmp_path, random_events(0))
    path = tmp_path / "events.csv"
    lines = [f"{line},ok" for line in path.read_text(encoding="utf-8").splitlines()]
    lines[0] = lines[0].replace(",ok", ",note")
    lines[100] = lines[100].replace(",ok", ',"ok')
    path.write_text("\n".join(lines), encoding="utf-8")
    message = (
        r"^interactions: \S*events.csv:101: the quoted field that begins here, in column 'note', "
        "is not closed before the file ends, so the records from line 101 on are lost in it. Close"
    )
    with pytest.raises(DataError, match=message):
        run(tmp_path)


def test_another_form_gives_the_same_examples_and_is_told(tmp_path):
    write_tables(tmp_path, random_events(0))
    plain = run(tmp_path, workdir="plain")
    events, queries = tmp_path / "events.csv", tmp_path / "queries.csv"
    text = "\r" + events.read_text(encoding="utf-8").replace("\n", "\r").replace(",", " ,")
    events.write_bytes(bz2.compress(text.encode("utf-16")))
    german = queries.read_text(encoding="utf-8").replace(",", ";").replace(".", ",")
    queries.write_text(german, encoding="utf-8")
    recorder = Recorder()
    assert run(tmp_path, reporter=recorder).files == plain.files
    told = "\n".join(recorder.messages)
    assert 'events.csv: read with encoding: "utf-16", which its first lines show; to say' in told
    assert "interactions: 480 ids have blanks around them, the first in" in told
    assert 'queries.csv: read with delimiter: ";", decimal: ",", which its' in told


def test_directories_and_partitions_as_spark_writes_them(tmp_path, monkeypatch):
    rows = random_events(0)
    write_tables(tmp_path / "plain", rows)
    plain = run(tmp_path / "plain")
    root = tmp_path / "data [2] {a}*"
    write_tables(root, rows)
    write_as_spark(root / "events.parquet", tmp_path / "plain" / "events.csv", "stars")
    spec = copy.deepcopy(SPEC)
    spec["interactions"]["path"] = "~/events.parquet"
    monkeypatch.setenv("HOME", str(root))
    assert run(root, spec=spec).counts == plain.counts


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
        r"^interactions: .*events.csv.gz: cannot be read to its end: .*\. Check the file: it may"
    )
    with pytest.raises(DataError, match=message) as caught:
        run(tmp_path, spec=spec)
    assert "Traceback" not in str(caught.value)
    assert "while running" not in str(caught.value)
