"""What cells are, by their form first: each case is a column of values that are all different."""

import random

import pytest

from pipelines.init_spec import cell_meanings as meanings
from pipelines.init_spec.cell_meanings import meaning_of
from pipelines.init_spec.column_names import mentions, names_a_person, names_an_id, words_of
from pipelines.init_spec.feature_choices import choose_kind, find_title
from pipelines.init_spec.profiles import profile_column
from tests.fixtures.shop_export import check_digit

N = 60
DRAW = random.Random(5)
FIRST, LAST = ("Anna", "Peter", "Camille", "Juan"), ("Xu", "Weber", "O'Neil", "Le Goff", "Ruiz")


def many(make):
    return [make(i) for i in range(N)]


def eans(prefix, digits):
    return many(lambda i: check_digit(f"{prefix}{i * 7919:0{digits}}"))


@pytest.mark.parametrize(
    ("of", "name", "cells", "meaning"),
    [
        ("things", "x", many(lambda i: f"a.b{i}@shop.example.org"), meanings.EMAILS),
        ("things", "title", many(lambda i: f"a.b{i}@shop.example.org"), meanings.EMAILS),
        ("things", "price", many(lambda i: f"https://shop.example/{i}"), meanings.LINKS),
        ("things", "pics", many(lambda i: f"https://x.y/{i}, https://x.y/{i}b"), meanings.LINKS),
        ("things", "pics", many(lambda i: f"media/{i}.webp|media/{i}b.webp"), meanings.LINKS),
        ("events", "x", many(lambda i: f"192.168.7.{i}"), meanings.IPS),
        ("events", "x", many(lambda i: f"2001:db8::{i:x}"), meanings.IPS),
        ("events", "x", many(lambda i: f"{i * 2**100 + 10**20:032x}"), meanings.HASHES),
        ("things", "x", eans("400638", 6), meanings.BARCODES),
        ("things", "x", eans("978316", 6), meanings.BARCODES),
        ("things", "x", eans("03600", 6), meanings.BARCODES),
        ("things", "x", [f"{e[:3]}-{e[3:]}" for e in eans("978316", 6)], meanings.BARCODES),
        ("things", "EAN", many(lambda i: f"4,0063{i:02}E+12"), meanings.BARCODES),
        ("things", "ean13", many(lambda i: str(20_000_000_000 + i)), meanings.BARCODES),
        ("people", "x", many(lambda i: f"+49 171 55512{i:02}"), meanings.PHONES),
        ("people", "x", many(lambda i: f"(555) 010-{1000 + i}"), meanings.PHONES),
        ("people", "x", many(lambda i: f"030 123 4{i:03}"), meanings.PHONES),
        ("people", "Tel.", many(lambda i: str(1715551200 + i)), meanings.PHONES),
        ("people", "PLZ", many(lambda i: str(10115 + i)), meanings.POSTAL_CODES),
        ("people", "Zip Code", many(lambda i: f"{73301 + i}-0042"), meanings.POSTAL_CODES),
        ("people", "x", many(lambda i: f"SW{i % 20} {i % 9}AB"), meanings.POSTAL_CODES),
        ("people", "x", many(lambda i: f"Lange Straße {i}b"), meanings.STREETS),
        ("people", "x", many(lambda i: f"{i + 1} Oak Ave, Apt 4"), meanings.STREETS),
        ("people", "x", many(lambda i: f"{i + 1} bis, rue de la Paix"), meanings.STREETS),
        ("people", "Adresse", many(lambda i: f"Am Markt {i}"), meanings.STREETS),
        ("people", "x", many(lambda i: f"{FIRST[i % 4]} {LAST[i % 5]}"), meanings.PEOPLE),
        ("people", "x", many(lambda i: f"{LAST[i % 5]}, {FIRST[i % 4]}"), meanings.PEOPLE),
        ("people", "Nom", many(lambda i: LAST[i % 5]), meanings.PEOPLE),
        ("events", "Billing Name", many(lambda i: f"Zoe {LAST[i % 5]}"), meanings.PEOPLE),
        ("things", "Ansprechpartner", many(lambda i: f"{FIRST[i % 4]} Ott"), meanings.PEOPLE),
        ("people", "login", many(lambda i: f"bluebird{i}"), meanings.LOGINS),
        ("people", "x", many(lambda i: f"DE89 3704 0044 0532 01{i:02} 00"), meanings.ACCOUNTS),
        ("events", "Kommentar", many(lambda i: f"Bitte nach {i} Uhr klingeln"), meanings.NOTES),
        ("things", "x", many(lambda i: f"{i:05}"), meanings.CODES),
        ("things", "Art.-Nr.", many(lambda i: str(4711 + i)), meanings.CODES),
        ("things", "x", many(lambda i: f"BE-{2024000 + i}"), meanings.CODES),
        ("things", "x", many(lambda i: f"{i + 1},5 kg"), meanings.MEASURES),
        ("things", "x", many(lambda i: f"ab {i + 1},90 € / Stück"), meanings.MEASURES),
        # Names that contradict the cells say nothing.
        ("things", "zip", many(lambda i: ("mit Zip", "ohne Zip")[i % 2]), None),
        ("things", "phone", many(lambda i: ("yes", "no")[i % 2]), None),
        ("people", "email", many(lambda i: ("ja", "nein")[i % 2]), None),
        ("things", "EAN", many(lambda i: f"{i + 1}.90"), None),
        ("people", "street", many(lambda i: ("city", "village")[i % 2]), None),
        # What only looks like it.
        ("things", "name", many(lambda i: f"{FIRST[i % 4]} Vase"), None),
        ("things", "author", many(lambda i: f"{FIRST[i % 4]} {LAST[i % 5]}"), None),
        ("events", "Lineitem name", many(lambda i: f"{FIRST[i % 4]} Kleid"), None),
        ("things", "title", many(lambda i: f"Goldring {i}"), None),
        ("things", "grams", many(lambda i: str(90 + i * i * 37)), None),
        ("things", "num_pages", many(lambda i: str(90 + i)), None),
        ("things", "price", many(lambda i: f"0.{1234567 + i}"), None),
        ("things", "price", many(lambda i: f"$1,{100 + i}.00"), None),
    ],
)  # fmt: skip
def test_the_form_of_the_cells_decides_and_the_name_where_it_leaves_a_doubt(
    of, name, cells, meaning
):
    assert meaning_of(name, cells, of=of) == meaning


@pytest.mark.parametrize(
    "meaning", [m for m in vars(meanings).values() if getattr(m, "personal", 0)]
)
def test_what_is_personal_is_no_feature(meaning):
    assert meaning.opaque
    assert meaning.why_left_out == f"holds personal data: {meaning.name}"


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (eans("400638", 6), None),
        (many(lambda i: f"{1067 + i % 7:05}"), "categorical"),  # postal codes that come again
        ([f"{i}" for i in range(2024001, 2024001 + N)], None),
        (many(lambda i: f"{i + 1},5 kg"), None),
        ([None] * 97 + ["a", "b", "c"], None),
        (["x"] * 20 + [None] * 20, "categorical"),
        (["Home > Garden > Tools", "Home > Kitchen"] * 30, "multi_categorical"),
        (["Home/Garden", "Toys", "Home/Bath"] * 20, "multi_categorical"),
        (["Shoes|Outdoor", *["Bags"] * 29] * 2, "multi_categorical"),
        (["12,90 €", "EUR 12,90", "1.299,00 €", "5,00 €"] * 20, "numeric"),
        (["$1,299.00", "$5.00"] * 20, "numeric"),
        ([*["12,90 €", "7,00 €"] * 20, *["auf Anfrage"] * 4], "numeric"),
        ([*["12.90"] * 30, *["7.10"] * 200, "seven"], "numeric"),  # as preprocessing tolerates
        ([*["2024-05-01", "2024-06-02"] * 20, *["0000-00-00"] * 5], "timestamp"),
        (["1,5 kg", "0,3 kg"] * 20, "categorical"),  # not two values with a comma between them
        (["ja", "nein"] * 20, "categorical"),
    ],
)
def test_kinds_of_columns_without_a_telling_name(cells, kind):
    assert choose_kind(profile_column("x", cells))[0] == kind


def test_words_for_no_price_are_declared_as_missing():
    profile = profile_column("x", [*["12,90 €", "7,00 €"] * 20, *["auf Anfrage", "-"] * 3])
    assert profile.missing_words == ("-", "auf Anfrage")
    assert profile.number_format == "comma"
    assert profile_column("x", ["S", "M", "38", "40"] * 9).missing_words == ()


def test_html_is_seen_and_taken_away():
    cells = [f"<p>Spaten &amp; <b>Harke</b> {i} für den Garten</p>" for i in range(N)]
    profile = profile_column("x", cells)
    assert profile.texts[7] == "Spaten & Harke 7 für den Garten"
    kind, reason, options = choose_kind(profile)
    assert (kind, options["format"]) == ("text", "html")
    assert "typically 7 words" in reason


def titles(**columns):
    return find_title({name: profile_column(name, cells) for name, cells in columns.items()}, "id")


def test_a_title_is_a_text_of_names_whatever_the_columns_are_called():
    text = many(lambda i: f"Blaue Tasse {i}")
    others = {
        "title": many(lambda i: f"{i},90 €"),
        "name": many(lambda i: f"https://shop.example/{i}"),
        "label": many(lambda i: f"post{i}@shop.example"),
        "headline": many(lambda i: f"2024-05-{1 + i % 28:02}"),
        "heading": many(lambda i: f"AB-{10000 + i}"),
        "id": many(str),
    }
    assert titles(**others, x=text) == "x"
    assert titles(**others) is None
    long = many(lambda i: f"<p>Eine Tasse {i}, {'die man gern hat, ' * 12}</p>")
    assert titles(description=long, x=text) == "x"
    brands = many(lambda i: f"Haus {i % 25} Mayer")
    assert titles(brand_name=brands, x=text) == "x"
    assert (
        titles(Bezeichnung=many(lambda i: f"Modell {'abcdefghij'[i % 10]}{i}"), x=text)
        == "Bezeichnung"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Artikelnr", ("artikel", "nr")),
        ("Bestellnummer", ("bestell", "nummer")),
        ("Rechnungsdatum", ("rechnung", "datum")),
        ("productid", ("product", "id")),
        ("paid", ("paid",)),
        ("N° commande", ("no", "commande")),
        ("Vorname", ("vorname",)),
    ],
)
def test_compounds_give_up_their_last_part(name, words):
    assert words_of(name) == words


def test_hints_need_no_accents_and_stars_are_beginnings():
    assert mentions("Numéro client", ("client",))
    assert mentions("Kundennummer", ("kunde*",))
    assert not mentions("Sekunden", ("kunde*",))
    assert names_an_id("Numéro")
    assert names_a_person("customer_name")
    assert not names_a_person("product_name")
