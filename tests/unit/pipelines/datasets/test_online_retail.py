"""UCI's workbook, as its publisher ships it, becomes the tables of the feature spec."""

import datetime
import zipfile

import pandas as pd
import pytest

from pipelines.datasets import online_retail
from pipelines.datasets.fetch import prepare
from pipelines.datasets.online_retail import WORKBOOK
from pipelines.datasets.published_tables import PublishedTables, checksum_of
from tests.fixtures.recorder import Recorder
from tests.fixtures.workbook import write_workbook
from tfrs_twotower.errors import DataError

HEADER = (
    *("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice"),
    *("CustomerID", "Country"),
)
MORNING = datetime.datetime(2010, 12, 1, 8, 26)
MORNING_S = 1_291_191_960  # 14,944 days from 1970 to 2010-12-01, and 8 h 26 min
UK = "United Kingdom"


def row(**changes):
    """A row in which one thing after another is as the publisher's sheet has it."""
    whole = {
        "invoice": 536365, "code": "85123A", "text": "WHITE HEART", "quantity": 6,
        "time": MORNING, "price": 2.55, "customer": 17850, "country": UK,
    }  # fmt: skip
    return tuple((whole | changes).values())


ROWS = [
    HEADER,
    row(),
    row(code=71053, text="WHITE METAL LANTERN", price=3.39),
    # the same product twice in one invoice: one event, the earlier time
    row(quantity=2, price=2.75, time=MORNING + datetime.timedelta(minutes=1)),
    # another invoice of the same customer, in another country; a second description
    row(invoice=536401, text="WHITE HEART HOLDER", time=MORNING + datetime.timedelta(days=2)),
    row(invoice=536402, text="WHITE HEART HOLDER", customer=12346, country="Iceland"),
    # none of these is a purchase of a product by somebody known
    row(invoice="C536379"),
    row(customer=None),
    row(price=0),
    row(quantity=-5, code=22960),
    row(code="POST", text="POSTAGE"),
    row(code="M", text="Manual"),
]


def converted(source, tmp_path):
    recorder = Recorder()
    directory = prepare("online-retail", tmp_path / "data", source, recorder)
    tables = {p.stem: pd.read_parquet(p) for p in sorted(directory.glob("*.parquet"))}
    return tables, recorder


@pytest.fixture(params=["workbook", "renamed", "archive", "directory", "parent"])
def source(request, tmp_path):
    """Each form in which somebody has the workbook."""
    directory = tmp_path / "source" / "online+retail"
    directory.mkdir(parents=True)
    workbook = write_workbook(directory / WORKBOOK, ROWS)
    if request.param == "renamed":
        return workbook.rename(directory / "retail (1).XLSX")
    if request.param == "archive":
        archive = tmp_path / "online+retail.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            opened.write(workbook, WORKBOOK)
        return archive
    return {"workbook": workbook, "directory": directory, "parent": directory.parent}[request.param]


def test_every_form_of_the_workbook_gives_the_tables(source, tmp_path):
    tables, recorder = converted(source, tmp_path)
    events = tables["interactions"]
    assert list(events.columns) == [
        "user_id", "item_id", "timestamp", "quantity", "price", "invoice",
    ]  # fmt: skip
    assert events.drop(columns="price").values.tolist() == [
        ["12346", "85123A", MORNING_S, 6, "536402"],
        ["17850", "71053", MORNING_S, 6, "536365"],
        ["17850", "85123A", MORNING_S, 6 + 2, "536365"],
        ["17850", "85123A", MORNING_S + 2 * 86_400, 6, "536401"],
    ]
    assert events["price"].tolist() == pytest.approx([2.55, 3.39, (2.55 + 2.75) / 2, 2.55])
    assert (events["quantity"].dtype, events["price"].dtype) == ("int32", "float32")
    # two of four rows each: the first by alphabet; the median of 2.55, 2.55, 2.55, 2.75
    assert tables["items"].values.tolist() == [
        ["71053", "WHITE METAL LANTERN", 3.39],
        ["85123A", "WHITE HEART", 2.55],
    ]
    assert tables["users"].values.tolist() == [["12346", "Iceland"], ["17850", UK]]
    said = "2 users, 2 items, 4 rows: not the tables that the results were measured on"
    assert any(message.startswith(said) for message in recorder.messages)


def test_the_measured_events_are_recognised_however_they_are_written(tmp_path, monkeypatch):
    source = write_workbook(tmp_path / WORKBOOK, ROWS)
    tables, _ = converted(source, tmp_path)
    shuffled = tables["interactions"].sample(frac=1, random_state=1)
    content = checksum_of(online_retail.event_lines(shuffled))
    measured = PublishedTables({}, content)
    monkeypatch.setattr(online_retail, "MEASURED", measured)
    monkeypatch.setattr(PublishedTables, "lie_in", lambda self, source: False)
    _, recorder = converted(source, tmp_path)
    said = "2 users, 2 items, 4 rows: the tables that the results were measured on"
    assert said in recorder.messages


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "its first row lacks InvoiceNo, StockCode"),
        ([HEADER[:-1], row()[:-1]], "its first row lacks Country; expected InvoiceNo"),
        ([HEADER, row(time="1/12/2010 8:26")], "InvoiceDate: found '1/12/2010 8:26', expected"),
        ([HEADER, row(customer=None)], "none of its 1 rows is a purchase"),
        ([HEADER], "none of its 0 rows is a purchase"),
    ],
)
def test_another_workbook_is_refused(rows, said, tmp_path):
    write_workbook(tmp_path / WORKBOOK, rows)
    with pytest.raises(DataError, match=said):
        prepare("online-retail", tmp_path / "data", tmp_path, Recorder())
    assert not (tmp_path / "data" / "online_retail").exists()


@pytest.mark.parametrize("content", [b"", b"no workbook", b"PK\x03\x04 cut"])
def test_a_damaged_workbook_is_named(content, tmp_path):
    path = tmp_path / WORKBOOK
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"Online Retail\.xlsx: cannot be read as an Excel"):
        prepare("online-retail", tmp_path / "data", path, Recorder())


@pytest.mark.timeout(60)
def test_entities_of_a_hostile_workbook_do_not_grow(tmp_path):
    entities = '<!DOCTYPE worksheet [<!ENTITY e0 "lol">'
    entities += "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12)) + "]>"
    path = write_workbook(tmp_path / WORKBOOK, [HEADER, row(text="BOMB")], before_sheet=entities)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["xl/sheet1.xml"] = parts["xl/sheet1.xml"].replace(b"BOMB", b"&e11;")
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    try:
        tables, _ = converted(path, tmp_path)
    except DataError:
        return  # refusing it is as good
    assert len(tables["items"]["title"][0]) < 100
