"""What `init` chooses on one shop as eight systems export it, without a hand on the tables."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pipelines.init_spec.first_spec import write_first_spec
from tests.fixtures.shop_export import DIALECTS, write_shop
from tests.unit.pipelines.init_spec.tables import write_csv
from tfrs_twotower.config import data_root, load_run_config
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs import load_spec

EVENTS = {
    "german": ("Kundennr", "Artikelnr", "Bestelldatum", "dmy", "Bestellnummer"),
    "german_short": ("KdNr", "ArtNr", "BelegDat", "iso", "BelegNr"),
    "us": ("customer_id", "product_id", "order_date", "mdy", "order_number"),
    "french": ("Code client", "Réf. produit", "Date", "dmy", "N° commande"),
    "shopify": ("Email", "Lineitem sku", "Created at", "iso", "Name"),
    "woocommerce": ("customer_user", "product_id", "order_date", "iso", "order_id"),
    "magento": ("customer_id", "sku", "created_at", "mdy", "increment_id"),
    "shopware": ("customer_id", "product_id", "order.orderDateTime", "iso", "order.orderNumber"),
}
TITLES = {
    "german": "Bezeichnung", "german_short": "ArtBez", "us": "title", "french": "Désignation",
    "shopify": "Title", "woocommerce": "Name", "magento": "name", "shopware": "name",
}  # fmt: skip
PRICES = {
    "german": "comma", "german_short": "comma", "us": "point", "french": "comma",
    "shopify": "plain", "woocommerce": "plain", "magento": "plain", "shopware": "plain",
}  # fmt: skip
STATES = {
    "german": "leave_out: {Status: [storniert, retourniert]}",
    "german_short": "StornoKz: [J] under leave_out.",
    "us": "leave_out: {order_status: [Cancelled, Returned]}",
    "french": "leave_out: {Etat: [annulée, remboursée]}",
    "shopify": "leave_out: {Financial Status: [voided, refunded]}",
    "woocommerce": "status: [cancelled, refunded] under leave_out.",
    "magento": "status: [canceled] under leave_out.",
    "shopware": "leave_out: {order.stateMachineState: [Abgebrochen, Retoure]}",
}
PERSONAL = re.compile(
    r"mail(?! marketing)|courriel|name|nom\b|prénom|tel|phone|stra(ß|ss)e|street|address|adresse|"
    r"geb|birth|dob|naissance|ip\b",
    re.IGNORECASE,
)
NEVER_NUMERIC = re.compile(
    r"nr|nummer|number|sku|ean|gtin|upc|barcode|plz|zip|postal|postcode|\bid\b|phone|tel|code",
    re.IGNORECASE,
)


@pytest.fixture(scope="module", params=DIALECTS)
def drafted(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    tables = write_shop(directory / "tables", request.param)
    spec, run = write_first_spec(*tables, directory / "out", request.param)
    return request.param, load_spec(spec), spec, run


def sources(side):
    return {feature.source: feature for feature in side.features}


def test_the_columns_of_the_events_get_their_roles(drafted):
    dialect, spec, *_ = drafted
    events = spec.interactions
    time = events.timestamp
    found = (events.query_id, events.candidate_id, time.column, time.unit, events.session)
    assert found == EVENTS[dialect]
    assert (events.label, events.weight) == (None, None)  # a price or quantity is neither


def test_the_title_is_a_name_and_personal_data_is_no_feature(drafted):
    dialect, spec, path, _ = drafted
    assert spec.candidates.title == TITLES[dialect]
    assert spec.queries.title is None
    personal = [column for column in sources(spec.query) if PERSONAL.search(column)]
    assert personal == []
    said = path.read_text(encoding="utf-8")
    assert "holds personal data: names of people" in said
    assert "holds personal data: dates of birth" in said or dialect in ("shopify", "woocommerce")


def test_codes_are_no_quantities_and_prices_are(drafted):
    dialect, spec, *_ = drafted
    features = {**sources(spec.query), **sources(spec.candidate)}
    numeric = [name for name, feature in features.items() if feature.kind == "numeric"]
    assert [name for name in numeric if NEVER_NUMERIC.search(name)] == []
    price = next(f for name, f in features.items() if re.search("(?i)prei|pri", name))
    assert (price.kind, price.format) == ("numeric", PRICES[dialect])


def test_paths_html_constants_and_copies(drafted):
    _, spec, *_ = drafted
    features = sources(spec.candidate)
    path_of = next(f for n, f in features.items() if re.search("(?i)categ|kateg|wgr|rayon", n))
    assert path_of.kind == "multi_categorical"
    texts = [f for f in features.values() if f.kind == "text"]
    html = [f for f in texts if re.search("(?i)desc|besch|body", f.source)]
    assert [f.format for f in html] == ["html"] * len(html)
    for column in (
        "MwSt",
        "currency",
        "Tax status",
        "Option1 Name",
        "Hinweis",
        "Bestellnr",
        "LfdNr",
    ):
        assert column not in features


def test_a_status_is_named_as_something_to_leave_out(drafted):
    dialect, spec, path, _ = drafted
    said = path.read_text(encoding="utf-8")
    assert STATES[dialect] in said
    assert re.search(r"says what became of an event: \S+ \d+\.\d%, ", said)
    column = re.split(r"[{:]", STATES[dialect].replace("leave_out: {", ""))[0].strip()
    assert column not in spec.interactions.leave_out


def test_events_that_no_model_can_use_are_left_out(drafted):
    dialect, spec, _, run = drafted
    expected = {
        "german_short": {"ArtNr": ("PORTO",)},
        "woocommerce": {"customer_user": ("0",)},
        "magento": {"customer_id": ("",)},
    }
    assert spec.interactions.leave_out == expected.get(dialect, {})
    limit = load_run_config(run).preprocess.max_bad_fraction
    assert limit == (0.04 if dialect == "german_short" else 0.01)  # delisted articles, 2.4 %


def test_both_files_work_where_they_are(drafted):
    _, spec, path, run = drafted
    config = load_run_config(run)
    assert config.index.server == "stock"
    tables = [table.path for table in (spec.interactions, spec.queries, spec.candidates)]
    assert all(table.startswith("../tables/") for table in tables)
    assert all((data_root(config, run) / table).is_file() for table in tables)
    for written, key in ((path, "interactions"), (run, "spec")):
        first = written.read_text(encoding="utf-8").splitlines()[0]
        schema = Path(first.removeprefix("# yaml-language-server: $schema="))
        schema = json.loads(schema.read_text(encoding="utf-8"))
        assert key in schema["properties"]
        yaml.safe_load(written.read_text(encoding="utf-8"))


def test_without_customers_the_address_is_the_last_resort_and_said(tmp_path):
    orders, products, _ = write_shop(tmp_path / "shop", "shopify")
    path, _ = write_first_spec(orders, products, None, tmp_path, "shopify")
    assert load_spec(path).interactions.query_id == "Email"
    assert "# Personal data: e-mail addresses. Ids stand in artifacts" in path.read_text()
    orders, products, _ = write_shop(tmp_path / "laden", "german")
    path, _ = write_first_spec(orders, products, None, tmp_path, "laden")
    spec = load_spec(path)
    assert (spec.interactions.query_id, spec.interactions.session) == ("Kundennr", "Bestellnummer")


@pytest.mark.parametrize("dialect", ["german", "us", "french"])
@pytest.mark.parametrize("with_customers", [True, False])
def test_columns_whose_names_say_nothing_are_known_by_their_cells(
    tmp_path, monkeypatch, dialect, with_customers
):
    form = DIALECTS[dialect]
    names = {"orders": form.orders, "articles": form.articles, "customers": form.customers}
    mute = {
        table: {f"{table[0]}{at}": cell for at, cell in enumerate(columns.values())}
        for table, columns in names.items()
    }
    monkeypatch.setitem(DIALECTS, "mute", replace(form, **mute))
    orders, articles, customers = write_shop(tmp_path / "tables", "mute")
    path, _ = write_first_spec(
        orders, articles, customers if with_customers else None, tmp_path, "mute"
    )
    events = load_spec(path).interactions
    told = [list(form.orders)[int(column[1:])] for column in (
        events.query_id, events.candidate_id, events.timestamp.column
    )]  # fmt: skip
    assert told == list(EVENTS[dialect][:3])
    assert list(form.articles)[int(load_spec(path).candidates.title[1:])] == TITLES[dialect]


def dated(tmp_path, dates, header="date", items=5):
    events = write_csv(
        tmp_path / "events.csv",
        ("user_id", "item", header),
        [(f"u{i % 3}", i % items, date) for i, date in enumerate(dates)],
    )
    things = write_csv(
        tmp_path / "items.csv", ("item", "colour"), [(i, "rb"[i % 2]) for i in range(items)]
    )
    return events, things, None


def test_dates_that_may_be_either_are_asked_for(tmp_path):
    dates = [f"{1 + i % 3:02}/{1 + i % 4:02}/2024" for i in range(24)]
    tables = dated(tmp_path, dates)
    with pytest.raises(DataError, match=r"'date': no date tells .*which may be.*Say --date-order"):
        write_first_spec(*tables, tmp_path, "x")
    for order in ("dmy", "mdy"):
        path, _ = write_first_spec(*tables, tmp_path, order, order)
        assert load_spec(path).interactions.timestamp.unit == order


@pytest.mark.parametrize(
    ("dates", "unit"),
    [
        ([f"{1 + i:02}/05/2024" for i in range(24)], "dmy"),
        ([f"05/{1 + i:02}/2024" for i in range(24)], "mdy"),
        # In order only if read so.
        ([f"{1 + i % 8:02}/{2 + i // 8:02}/2024" for i in range(24)], "dmy"),
        ([f"{2 + i // 8:02}/{1 + i % 8:02}/2024" for i in range(24)], "mdy"),
        ([f"{1 + i % 3}.{1 + i % 4}.24 8:05" for i in range(24)], "dmy"),  # points: day first
        ([f"2024/{1 + i % 4:02}/{1 + i % 3:02}" for i in range(24)], "iso"),
    ],
)
def test_the_order_of_day_and_month_is_seen_in_the_data(tmp_path, dates, unit):
    path, _ = write_first_spec(*dated(tmp_path, dates), tmp_path, "x")
    assert load_spec(path).interactions.timestamp.unit == unit


def test_a_name_with_any_sign_is_quoted(tmp_path):
    tables = dated(tmp_path, ["2024-05-01"] * 24, header="when, {so}: [it] #is?")
    path, _ = write_first_spec(*tables, tmp_path, "x")
    assert load_spec(path).interactions.timestamp.column == "when, {so}: [it] #is?"
