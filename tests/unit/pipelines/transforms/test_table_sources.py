"""The files of a table, found and read as the stages do it, without a job."""

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.transforms.table_parts import Part, PartReader
from pipelines.transforms.table_sources import find_source
from tests.fixtures.spark_directory import write_as_spark
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs import InteractionTable
from tfrs_twotower.tables.delimited import FileNotes

COLUMNS = ["user", "item", "at", "stars"]
ROWS = [(f"u{n % 3}", f"i{n}", str(1_700_000_000 + n), f"{n % 5}.5") for n in range(12)]


def csv_text(rows=ROWS, header=COLUMNS, delimiter=","):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerows([header, *rows])
    return text.getvalue()


def table_of(path="t.csv", **options):
    return InteractionTable(
        path=path,
        query_id="user",
        candidate_id="item",
        timestamp={"column": "at"},
        label="stars",
        **options,
    )


def find(root, path="t.csv", numbers=("stars",), **options):
    return find_source("interactions", table_of(path, **options), COLUMNS, root, numbers)


def read(source):
    """Cells or reason of each record, and the sentences about the files."""
    said = source.said()
    records = []
    for number in range(len(source.files)):
        notes = FileNotes()
        reader = PartReader(source, Part(number, None, True), frozenset(), notes)
        records += [cells or reason for _, cells, reason in reader.records()]
        said += notes.said()
    return records, said


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (csv_text(), {}, ""),
        (csv_text().replace("\n", "\r"), {}, ""),
        ("\n \n" + csv_text().replace("\n", "\n\n"), {}, ""),
        (csv_text(delimiter=";"), {}, 'read with delimiter: ";"'),
        (csv_text(delimiter=";"), {"delimiter": ";"}, ""),
        (csv_text(delimiter="\t"), {}, r'read with delimiter: "\t"'),
        (csv_text(delimiter="\t"), {"format": "tsv"}, ""),
        (csv_text().replace(",", "::"), {}, 'read with delimiter: "::"'),
        (csv_text(delimiter=";").replace(".5", ",5"), {}, 'delimiter: ";", decimal: ","'),
        (csv_text(delimiter=";").replace(".5", ",5"), {"delimiter": ";", "decimal": ","}, ""),
        (
            csv_text(delimiter=";").encode("utf-16"),
            {"delimiter": ";"},
            'read with encoding: "utf-16"',
        ),
        (csv_text().split("\n", 1)[1], {"columns": COLUMNS}, ""),
        (csv_text().replace(",", ", "), {}, ""),
        (csv_text().replace("u", " u"), {}, "12 ids have blanks around them, the first in"),
        (csv_text([(*row, "x\0") for row in ROWS], [*COLUMNS, "not read"]), {}, ""),
    ],
)
def test_one_table_in_many_forms(tmp_path, content, options, said):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "t.csv").write_bytes(content)
    records, sentences = read(find(tmp_path, **options))
    assert records == ROWS
    assert len(sentences) == bool(said)
    assert said in "".join(sentences)


def test_declared_forms_are_believed(tmp_path):
    (tmp_path / "t.csv").write_text(csv_text(delimiter=";"))
    with pytest.raises(
        DataError, match=r"missing column .* one column where ',' separates them: s"
    ):
        find(tmp_path, delimiter=",")
    (tmp_path / "t.csv").write_text(csv_text(delimiter=";").replace(".5", ",5"))
    records, _ = read(find(tmp_path, decimal="."))
    assert records[0][-1] == "0,5"  # which the cell's parser refuses
    (tmp_path / "t.csv").write_text(csv_text())
    records, _ = read(find(tmp_path, decimal=","))
    reason = "column 'stars': a number with a decimal point where decimal: ',' is expected"
    assert records == [reason] * len(ROWS)


def test_files_of_a_glob_may_order_their_columns_and_be_written_differently(tmp_path):
    (tmp_path / "a.csv").write_text(csv_text(ROWS[:5]))
    other = [row[::-1] for row in ROWS[5:]]
    (tmp_path / "b.csv").write_text(csv_text(other, COLUMNS[::-1], delimiter=";"))
    records, said = read(find(tmp_path, "*.csv"))
    assert records == ROWS
    assert [sentence.split(": ")[1].rsplit("/")[-1] for sentence in said] == ["b.csv"]
    (tmp_path / "c.csv").write_text(csv_text(header=["user", "Item", "at", "stars"]))
    message = (
        r"/c.csv: missing column 'item' \(did you mean 'Item'\?\); found: Item, at, stars, user"
    )
    with pytest.raises(DataError, match=message):
        find(tmp_path, "*.csv")


@pytest.mark.parametrize("root", ["data", "data [2] {a}*?"])
def test_what_spark_writes(tmp_path, root, monkeypatch):
    root = tmp_path / root
    root.mkdir()
    (tmp_path / "t.csv").write_text(csv_text())
    write_as_spark(root / "t.parquet", tmp_path / "t.csv", "stars")
    monkeypatch.setenv("HOME", str(root))
    for path in ("t.parquet", "t.parquet/", "t.parquet/*", "t.parquet/stars=*/*", "~/t.parquet"):
        records, _ = read(find(root, path, format="parquet"))
        assert sorted(records) == sorted(ROWS), path
    (root / "csv").mkdir()
    (root / "csv" / "part-0.csv").write_text(csv_text(ROWS[:7]))
    (root / "csv" / "part-1.csv").write_text(csv_text(ROWS[7:]))
    (root / "csv" / "part-2.csv").write_text("")
    (root / "csv" / "_SUCCESS").write_text("")
    assert read(find(root, "csv", format="csv"))[0] == ROWS


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"interactions: no file matches \S*/t.csv. Check interac"):
        find(tmp_path)
    (tmp_path / "t.parquet").mkdir()
    (tmp_path / "t.parquet" / "_SUCCESS").write_text("")
    with pytest.raises(DataError, match=r"no file matches \S*/t.parquet"):
        find(tmp_path, "t.parquet")


def test_a_column_that_stands_twice_in_parquet(tmp_path):
    columns = [pa.array([value]) for value in ROWS[0]]
    table = pa.Table.from_arrays([*columns, columns[0]], names=[*COLUMNS, "user"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t.parquet: the column 'user' stands twice in the header"):
        find(tmp_path, "t.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found an empty file"),
        ("user,item,at,stars\n\n", "found a header but no record"),
        ("user,item,at,user\n1,2,3,4\n", "the column 'user' stands twice in the header"),
        (csv_text().split("\n", 1)[1], "The first line looks like a record: if the file has no h"),
        ('user,item,at,stars\n"1,2,3,4\n', "t.csv:2: the quoted field that begins here"),
    ],
)
def test_files_that_are_refused_before_the_job(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        find(tmp_path)
    assert str(caught.value).count("t.csv") == 1


def test_an_array_and_lines_of_json(tmp_path):
    objects = ",\n".join(
        f'{{"user": " {u}", "item": "{i}", "at": {at}, "stars": "{stars.replace(".", ",")}"}}'
        for u, i, at, stars in ROWS
    )
    expected = [(u, i, int(at), stars) for u, i, at, stars in ROWS]
    for content in (f"[{objects}]", objects.replace("},", "}")):
        (tmp_path / "t.json").write_text(content)
        source = find(tmp_path, "t.json", decimal=",")
        records, (said,) = read(source)
        assert records == expected
        assert "12 ids have blanks around them" in said
    (tmp_path / "t.json").write_text(f"[{objects}, 7]")
    source = find(tmp_path, "t.json")
    reader = PartReader(source, Part(0, None, True), frozenset(), FileNotes())
    *_, (position, _, reason) = reader.records()
    assert source.describe(position).endswith("t.json: element 13")
    assert reason == "not a JSON object"
