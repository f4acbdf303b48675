import pytest

from tests.unit.tables.reading import read_text, rows_of
from tfrs_twotower.tables.files import MalformedTable

TEXT = "id,name,price\n1,Tea,2\n2,Cup,3\n"


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "::", " "])
def test_a_delimiter_is_seen_and_said(delimiter):
    form, records, _ = read_text(TEXT.replace(",", delimiter))
    assert form.options == {"delimiter": delimiter}
    assert [values for _, values, _ in records] == [("1", "Tea", "2"), ("2", "Cup", "3")]
    declared, same, _ = read_text(TEXT.replace(",", delimiter), delimiter=delimiter)
    assert (declared.options, same) == ({}, records)


def test_a_header_that_has_the_default_delimiter_in_a_name():
    rows = rows_of("id\ttitle, long\n1\tHello, world\n2\tx\n3\ty\n")
    assert rows[:2] == [["id", "title, long"], ["1", "Hello, world"]]
    form, _, _ = read_text("id,a|b\n1,x|y\n2,z\n3,u,v\n4,w\n")  # neither fits all records
    assert form.delimiter == ","


def test_other_signs_in_a_file_of_the_default_delimiter_are_text():
    text = 'id,tags,text\n1,a|b,"x; y; z"\n2,a|c,p::q\n'
    form, _, _ = read_text(text)
    assert (form.delimiter, form.options) == (",", {})
    assert read_text("a\tb\nx,y\tp,q\n", "\t")[0].options == {}


def test_runs_of_blanks_as_trec_writes_them():
    rows = rows_of("q1 0  d1\t1\nq1 0 d2 0\n", columns=("query", "iteration", "item", "label"))
    assert rows[1:] == [["q1", "0", "d1", "1"], ["q1", "0", "d2", "0"]]


@pytest.mark.parametrize(
    ("text", "title", "options"),
    [
        ('1\t"The ""best"" of"\n2\tx', 'The "best" of', {"quote": '"'}),
        ('1\t"tab\there"\n2\tx', "tab\there", {"quote": '"'}),
        ('1\t"two\nlines"\n2\tx', "two\nlines", {"quote": '"'}),
        ('1\t"odd\n2\tx', '"odd', {}),
        ('1\t"Heroes" by Bowie\n2\tx', '"Heroes" by Bowie', {}),
        ('1\t"Heroes"\n2\tx', '"Heroes"', {}),
        ('1\t5" disk\n2\tx', '5" disk', {}),
    ],
)
@pytest.mark.parametrize("before", [0, 30_000])
def test_a_tsv_with_and_without_quoting(text, title, options, before):
    """Also where the first quote comes long after the lines that the form is seen in."""
    plain = "".join(f"{number}\ta title without quotes\n" for number in range(before))
    form, records, _ = read_text(f"id\ttitle\n{plain}{text}\n", "\t")
    assert records[before][1][1] == title
    assert len(records) == before + 2
    if not before:
        assert form.options == options


def test_a_quoted_header_of_a_tsv():
    assert rows_of('"id"\t"title"\n"1"\t"x"\n', "\t") == [["id", "title"], ["1", "x"]]
    assert rows_of('id\ttitle\n1\t"x"\n2\t"y"\n', "\t")[1:] == [["1", "x"], ["2", "y"]]


def test_backslashes_before_quotes_as_spark_writes_them():
    rows = rows_of('id,text\n1,"He said \\"hi\\", twice"\n2,"x\\\\y"\n')
    assert rows[1:] == [["1", 'He said "hi", twice'], ["2", "x\\y"]]


def test_blanks_after_delimiters_and_around_names():
    rows = rows_of(' id , name\n1, "Tea, green"\n2, Cup\n')
    assert rows == [["id", "name"], ["1", "Tea, green"], ["2", "Cup"]]


def test_a_decimal_comma_is_seen_where_it_is_sure():
    for cells, decimal in (
        (["1,5", "2", "1.234,56"], ","),
        (["1,234", "2,500"], "."),  # may be thousands
        (["1,5", "2.5"], "."),
        (["a,b", "1,5"], "."),
    ):
        form, _, _ = read_text("id;price\n" + "".join(f"x;{cell}\n" for cell in cells))
        assert (form.decimal, form.options.get("decimal", ".")) == (decimal, decimal)
    assert read_text("id;price\nx;1,5\n", decimal=".")[0].decimal == "."
    # Between commas it is left to the column's own `format`, and `decimal` can say it.
    assert read_text('id,price\nx,"1,5"\n')[0].decimal == "."
    assert read_text('id,price\nx,"1,5"\n', decimal=",")[0].decimal == ","


def test_a_header_that_names_a_column_twice():
    with pytest.raises(MalformedTable, match="the column 'a' stands twice in the header: a, b, a"):
        read_text("a,b, a\n1,2,3\n")
    assert rows_of("a,,\n1,2,3\n")[0] == ["a", "", ""]  # unnamed columns may repeat


def test_a_first_line_that_is_a_record():
    form, _, _ = read_text("7,31,5,881250949\n8,32,5,1700000001\n")
    assert form.invented == ("query_id", "candidate_id", "rating", "timestamp")
    form, _, _ = read_text("q1 0 d1 1\nq2 0 d1 0\n")
    assert form.invented == ("query_id", "iteration", "candidate_id", "relevance")
    assert read_text("7::Tea\n8::Cup\n")[0].invented == ("id", "column_2")
    assert read_text("id,2019,2020\n1,5,6\n2,7,8\n")[0].invented == ()
    assert read_text("id,name\n1,x\n")[0].invented == ()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_an_encoding_that_shows_itself(encoding):
    form, records, _ = read_text("id,name\n1,Käse\n2,チーズ\n".encode(encoding))
    assert [values for _, values, _ in records] == [("1", "Käse"), ("2", "チーズ")]
    assert form.options == ({} if encoding == "utf-8-sig" else {"encoding": form.encoding.name})


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1252", "Käse Crème Straße Müller"),
        ("cp1250", "Zażółć gęślą jaźń příliš"),
        ("cp1251", "Война мир преступление наказание"),
        ("shift_jis", "日本語の商品 東京タワーの本 テスト商品番号"),
        ("gb18030", "中文商品 测试商品编号 北京 图书"),
    ],
)
def test_an_encoding_that_can_only_be_guessed_is_refused_with_the_guess(encoding, words):
    text = "id,name\n" + "".join(f"{n},{word}\n" for n, word in enumerate(words.split()))
    content = text.encode(encoding)
    message = (
        rf"not UTF-8 \(lines 2, 3.*it looks like {encoding}. If it is, write `encoding: {encoding}`"
    )
    with pytest.raises(MalformedTable, match=message):
        read_text(content)
    _, records, _ = read_text(content, encoding=encoding)
    assert [values[1] for _, values, _ in records] == words.split()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04xl", "zip archive, such as an Excel"),
        (b"PAR1", "a Parquet file, .*`format: pa"),
    ],
)
def test_a_file_that_is_no_text(content, what):
    with pytest.raises(MalformedTable, match=what):
        read_text(content)


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_first_line_of_excel_names_the_delimiter(first, end):
    """Without it, the commas of the texts would be taken for the delimiter."""
    text = "\n".join([first, "id;name, price", "1;Tea, 2", '2;"a', 'b"', "3;Cup, 3", ""])
    form, records, _ = read_text(text.replace("\n", end))
    assert (form.columns, form.options) == (("id", "name, price"), {"delimiter": ";"})
    assert records == [
        (3, ("1", "Tea, 2"), ""),
        (4, ("2", f"a{end}b"), ""),
        (6, ("3", "Cup, 3"), ""),
    ]


def test_what_excel_names_is_said_only_where_it_is_no_default_and_a_spec_comes_first():
    assert read_text("sep=,\nid,name\n1,x\n")[0].options == {}
    assert rows_of("sep=\t\nid\tname\n1\tx, y\n") == [["id", "name"], ["1", "x, y"]]
    form, records, _ = read_text("sep=;\nid,name\n1,x;y\n", delimiter=",")
    assert (form.columns, form.options) == (("id", "name"), {})
    assert records == [(3, ("1", "x;y"), "")]
    _, records, _ = read_text("sep=;\n1;x\n2;y\n", columns=("id", "name"))
    assert [values for _, values, _ in records] == [("1", "x"), ("2", "y")]


def test_a_column_of_that_name_is_no_declaration():
    assert rows_of("sep=a,id\n1,x\n") == [["sep=a", "id"], ["1", "x"]]
    assert rows_of("sep=;,id\n1,x\n") == [["sep=;", "id"], ["1", "x"]]
