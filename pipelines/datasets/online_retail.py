"""UCI Online Retail: a year (December 2010 to 2011) of a British gift-ware web shop.

Licence: CC BY 4.0. Daqing Chen, UCI Machine Learning Repository, doi 10.24432/C5BW33. Changes: one
row for each (user, item, invoice); cancellations, unknown customers, zero prices and codes that are
not products (they do not begin with five digits) removed. 4,334 users, 3,659 items, 386,326 rows of
541,909.

Protocol of `feature_specs/online_retail.yaml`: global cut-offs in time, the first 80 % of the
events are training and validation, the last 20 % test; an invoice is never cut; users and items
known in training; items bought before are neither relevant nor ranked (40 % of the test events are
such repeats).

Tables: `interactions.parquet` (user_id, item_id, timestamp in s: the shop's local time read as UTC,
quantity, price, invoice), `items.parquet` (item_id, title: the most frequent description, price:
the median), `users.parquet` (user_id, country).
"""

import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.datasets import sources
from pipelines.datasets.published_tables import PublishedTables
from pipelines.progress import Reporter
from tfrs_twotower.environment import require_extra
from tfrs_twotower.errors import DataError

WORKBOOK = "Online Retail.xlsx"
ABOUT = sources.About(
    name="online-retail",
    licence="CC BY 4.0",
    attribution="Daqing Chen, Online Retail, UCI Machine Learning Repository, 10.24432/C5BW33",
    layout=f"{WORKBOOK} (or interactions.parquet, items.parquet, users.parquet)",
    home="https://archive.ics.uci.edu/dataset/352/online+retail",
)
MEASURED = PublishedTables(
    {
        "interactions.parquet": "b3be6cd90a1a7015af892190a32aa12187f9c6baaba27e1c56c55c2645a228a6",
        "items.parquet": "3984cc271fedf9d601b6d4110fe6233fe3e687086ccd96bd96bf29d201aab855",
        "users.parquet": "8f120e5aec43a1cbc25385ec18e9f02af805026c05f61b918d1d4a187a476c7c",
    },
    content="3ce5b6dbbe51da72138e339d40eba5be15472c3ca6bd47ccbe06126d56c6ed38",
)
_COLUMNS = {
    "InvoiceNo": "invoice",
    "StockCode": "item_id",
    "Description": "title",
    "Quantity": "quantity",
    "InvoiceDate": "time",
    "UnitPrice": "price",
    "CustomerID": "user_id",
    "Country": "country",
}
_IDS = ("invoice", "item_id", "user_id")
_EVENT = ["user_id", "item_id", "invoice"]


def convert(source: Path | None, out: Path, cache: Path, reporter: Reporter) -> dict[str, str]:
    """Writes the three tables into `out`.

    Returns:
        SHA-256 of each source file.

    Raises:
        DataError: the source is missing, damaged or not in a known layout.
    """
    if source is not None and source.is_file() and source.suffix.lower() == ".xlsx":
        workbook = source
    else:
        source = sources.require_source(source, ABOUT)
        if MEASURED.lie_in(source):
            return MEASURED.copy(source, ABOUT, out)
        workbook = sources.locate(source, (WORKBOOK,), ABOUT)[WORKBOOK]
    reporter.message(f"reading {workbook}")
    _write_tables(_purchases(workbook), out, reporter)
    return sources.checksums({WORKBOOK: workbook})


def _purchases(path: Path) -> pd.DataFrame:
    """The rows of the workbook that are purchases of products by known customers."""
    table = _read_workbook(path)
    kept = (
        (table["user_id"] != "")
        & ~table["invoice"].str.startswith("C")
        & table["item_id"].str.match(r"\d{5}")
        & (table["quantity"] > 0)
        & (table["price"] > 0)
    )
    if not kept.any():
        raise DataError(
            f"{path}: none of its {len(table):,} rows is a purchase with a customer, a product "
            "and a price. Get the original workbook again."
        )
    return table[kept]


def _read_workbook(path: Path) -> pd.DataFrame:
    """The first sheet, with our names of columns; ids are text, `""` where there is none."""
    require_extra("pipelines", "python_calamine", needed_by=f"reading {path.name}")
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()
    except (CalamineError, OSError, IndexError) as cause:
        raise DataError(
            f"{path}: cannot be read as an Excel workbook: {cause}. Get it again."
        ) from cause
    header = rows[0] if rows else []
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"{path}: its first row lacks {', '.join(missing)}; expected {', '.join(_COLUMNS)}. "
            f"Get the original {WORKBOOK} from {ABOUT.home}."
        )
    table = pd.DataFrame(rows[1:], columns=header)[list(_COLUMNS)].rename(columns=_COLUMNS)
    for column in (*_IDS, "title", "country"):
        table[column] = table[column].map(_text)
    for column in ("quantity", "price"):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    wrong = [value for value in table["time"] if not isinstance(value, datetime.datetime)]
    if wrong:
        raise DataError(
            f"{path}: column InvoiceDate: found {wrong[0]!r}, expected dates with times. Keep the "
            "original workbook: a spreadsheet program may have rewritten it."
        )
    return table


def _text(value: Any) -> str:
    """A cell as text: the workbook holds most ids as numbers, such as 536365.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _write_tables(purchases: pd.DataFrame, out: Path, reporter: Reporter) -> None:
    purchases = purchases.assign(
        timestamp=purchases["time"].astype("datetime64[s]").astype("int64")
    )
    events = purchases.groupby(_EVENT, as_index=False).agg(
        timestamp=("timestamp", "min"), quantity=("quantity", "sum"), price=("price", "mean")
    )
    events = events.astype({"quantity": "int32", "price": "float32"})
    events = events.sort_values(["timestamp", *_EVENT], kind="stable")
    items = purchases.groupby("item_id", as_index=False).agg(
        title=("title", _most_frequent), price=("price", "median")
    )
    users = purchases.groupby("user_id", as_index=False).agg(country=("country", _most_frequent))
    columns = ["user_id", "item_id", "timestamp", "quantity", "price", "invoice"]
    events[columns].to_parquet(out / "interactions.parquet", index=False)
    items.to_parquet(out / "items.parquet", index=False)
    users.to_parquet(out / "users.parquet", index=False)
    MEASURED.say_whether_equal(
        event_lines(events),
        f"{len(users):,} users, {len(items):,} items, {len(events):,} rows",
        reporter,
    )


def event_lines(events: pd.DataFrame) -> list[str]:
    """What decides the results of this set: who bought what when, in which invoice."""
    columns = [events[name].astype(str) for name in (*_EVENT, "timestamp")]
    return [",".join(event) for event in zip(*columns, strict=True)]


def _most_frequent(texts: pd.Series) -> str:
    return str(texts.mode().iloc[0])  # of several the first by alphabet
