import pytest

from tests.unit.tables.reading import read_text, rows_of
from tfrs_twotower.tables.files import MalformedTable

PLAIN = [["id", "text"], ["1", "x"], ["2", "y"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "text",
    ["id,text|1,x|2,y", "|id,text|1,x|2,y|", "id,text||1,x|  ||2,y||", "\ufeff|id,text|1,x|2,y|"],
)
def test_line_ends_blank_lines_and_a_byte_order_mark_change_nothing(end, text):
    assert rows_of(text.replace("|", end)) == PLAIN


def test_mixed_line_ends_and_the_lines_of_records():
    _, records, _ = read_text('\nid,text\r\n\r1,"a\r\nb"\n2,y\r\r\n3,z')
    assert records == [(4, ("1", "a\r\nb"), ""), (6, ("2", "y"), ""), (8, ("3", "z"), "")]


@pytest.mark.parametrize(
    ("text", "line", "column", "ends"),
    [
        ('id,text\n1,x\n2,"y\n3,z\n', 3, "text", "is not closed before the file ends"),
        ('id,text\n1,x\n2,"y', 3, "text", "is not closed before the file ends"),
        ('id,text\n1,x\n"2,y\n', 3, "id", "is not closed before the file ends"),
        ('id,text\n1,x\n2,"', 3, "text", "is not closed before the file ends"),
        ('id,text,n\n1,"a\nb","c\n2,x,3\n', 3, "n", "is not closed before the file ends"),
        ('id,text\n1,"a\nb" c\n', 2, "text", "meets text after a closing quote in line 3"),
        ('id,text\n1,"odd\n2,"Good, thing"\n', 2, "text", "meets text after a closing quote in"),
    ],
)
def test_a_quote_that_ends_in_the_wrong_place_is_refused(text, line, column, ends):
    message = rf"^t.csv:{line}: the quoted field that begins here, in column '{column}', {ends}"
    with pytest.raises(MalformedTable, match=message):
        read_text(text)


def test_an_unclosed_quote_deep_in_a_large_file():
    lines = [f"{number},text {number}" for number in range(200_000)]
    lines[150_000] = '150000,"text'
    with pytest.raises(MalformedTable, match=r"t.csv:150002: .* column 'text', is not closed"):
        read_text("id,text\n" + "\n".join(lines))


def test_text_after_a_quoted_field_spoils_one_record_only():
    _, records, _ = read_text('id,text\n1,"a" b\n2,y\n')
    assert records == [(2, None, "not CSV: ',' expected after '\"'"), (3, ("2", "y"), "")]


EVENTS = [f"u{n % 7},i{n},{1_700_000_000 + n},{n % 5},ok" for n in range(60)]


@pytest.mark.parametrize("swallowed", [1, 2, 40])
@pytest.mark.parametrize("column", [0, 1, 4])
def test_a_quote_that_swallows_records_and_closes_is_refused(swallowed, column):
    lines = [line.split(",") for line in EVENTS]
    lines[10][column] = '"' + lines[10][column]
    lines[10 + swallowed][column] += '"'
    text = "\n".join(["user,item,at,stars,note", *map(",".join, lines)])
    name = ("user", "item", "at", "stars", "note")[column]
    message = rf"t.csv:12: .*column '{name}', spans {swallowed + 1} lines that look like records"
    with pytest.raises(MalformedTable, match=message):
        read_text(text)
    form, records, _ = read_text(text, quote='"')  # the spec says that it is meant so
    assert (form.quote_is_declared, len(records)) == (True, 60 - swallowed)
    _, records, _ = read_text(text, quote="")
    assert (len(records), records[10][1][column][0]) == (60, '"')


def test_prose_of_many_lines_is_read_and_told():
    poem = "\n".join(f"Roses are red, violets number {n % 9} are blue" for n in range(30))
    _, records, said = read_text(f'id,text\n1,"{poem}"\n2,"a\nb"\n')
    assert [values for _, values, _ in records] == [("1", poem), ("2", "a\nb")]
    assert said == ["t.csv:2: the field in column 'text' spans 30 lines: is a quote missing?"]


def test_a_repeated_header_and_ragged_records_are_bad():
    _, records, _ = read_text("id,text \n1,x\n\ufeffid,text \n2\n3,y,z\n")
    assert [reason for _, _, reason in records] == [
        "",
        "repeats the header",
        "has another number of fields than the header's 2",
        "has another number of fields than the header's 2",
    ]


def test_names_given_for_a_file_that_has_a_header():
    with pytest.raises(MalformedTable, match=r"t.csv:1: holds the names in `columns`, so the file"):
        read_text("id,text\n1,x\n", columns=("id", "text"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"id,text\n1,a\0b\n2,y\n", "holds a NUL character"),
        (b"id,text\n" + b"\0" * 99 + b",x\n2,y\n", "holds a NUL character"),
        (b"id,text\n1,a\xffb\n2,y\n", "not valid UTF-8"),
    ],
)
def test_characters_that_cannot_be_used_spoil_one_record(content, reason):
    _, records, _ = read_text(content)
    assert [(values, reason) for _, values, reason in records] == [(None, reason), (("2", "y"), "")]


def test_a_cell_of_a_million_characters():
    cell = "a, 1\n" * 200_000
    assert rows_of(f'id,text\n1,"{cell}"\n2,y\n') == [["id", "text"], ["1", cell], ["2", "y"]]


def test_a_file_of_a_header_or_of_nothing():
    assert rows_of("id,text\n") == [["id", "text"]]
    assert rows_of("") == [[]]
    assert rows_of("\n\n") == [[]]


def test_a_file_of_one_column():
    assert rows_of("text\nA; b\nWell, no\n"[:-9]) == [["text"], ["A; b"]]
    assert rows_of('text\n"Well, no"\n\nx y\n') == [["text"], ["Well, no"], ["x y"]]
