import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.init_spec.column_names import feature_name, subject_of, words_of
from pipelines.init_spec.feature_choices import choose_kind
from pipelines.init_spec.profiles import profile_column
from pipelines.init_spec.roles import smallest_positive
from tfrs_twotower.specs.declarations import RESERVED_NAMES


@pytest.mark.parametrize(
    ("name", "cells", "unit"),
    [
        ("when", ["2024-05-31T18:30:00+02:00", "2024-05-31T18:30:00Z"], "iso"),
        ("anything", ["2024-05-31 18:30:00", "2024-06-01"], "iso"),
        ("bought_at", [1_700_000_000, 1_700_000_100], "s"),
        ("ts", ["1700000000000", "1700000000001"], "ms"),
        ("created", [1_700_000_000_000_000], "us"),
        ("x", [datetime(2024, 1, 1)], "iso"),
        ("product_id", [1_700_000_000, 1_700_000_100], None),  # large, but called an id
        ("date", ["31.05.2024"], "dmy"),
    ],
)
def test_times(name, cells, unit):
    assert profile_column(name, cells).time_unit == unit


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("empty", [None] * 5, None),
        ("constant", ["a"] * 50, None),
        ("nested", [{"a": 1}], None),
        ("email", [f"p{i}@example.org" for i in range(200)], None),
        ("colour", ["red", "green"] * 50, "categorical"),
        ("kids", [0, 1, 2, 3] * 20, "categorical"),
        ("zip_code", [str(10_000 + i % 30) for i in range(100)], "categorical"),
        ("price", [i + 0.5 for i in range(100)], "numeric"),
        ("tags", ["a|b", "b|c", "a"] * 20, "multi_categorical"),
        ("labels", [["a", "b"], ["c"]] * 20, "multi_categorical"),
        ("toppings", ["ham, cheese", "cheese, basil"] * 20, "multi_categorical"),
        ("prose", [f"Yes, in {i} the shop, once of {i * 7}, was sold" for i in range(99)], "text"),
        ("released", ["1999-01-01", "2001-05-05"] * 20, "timestamp"),
        ("born", ["1899-01-01", "1950-05-05"] * 20, "timestamp"),
        ("genres", ["['rock', 'all']", "[]"] * 20, "multi_categorical"),
        ("genres", ['["rock"]', '["all"]'] * 20, "multi_categorical"),
        ("genres", ["['rock' 'all']"] * 20, "multi_categorical"),
        ("genres", ["{rock,all}", "{}"] * 20, "multi_categorical"),
        ("price", [f"1 {i:03},5" for i in range(40)], "numeric"),
        ("share", [f"{i} %" for i in range(40)], "numeric"),
        ("sku", [f"ABC{i:03}" for i in range(40)], None),  # no currency
        ("type", [f"kind {i % 1100} of food" for i in range(11_000)], "categorical"),
        ("note", [f"kind {i % 1100} of food" for i in range(3000)], "text"),
        ("question", ["パンダ", "ハンダ", "かぎ"], "text"),
    ],
)
def test_kinds(name, cells, kind):
    assert choose_kind(profile_column(name, cells))[0] == kind


def test_a_long_tail_of_numbers_is_logged():
    kind, reason, options = choose_kind(
        profile_column("price", [1.5] * 50 + [i * 10.5 for i in range(50)])
    )
    assert (kind, options) == ("numeric", {"transform": "log"})
    assert reason == "numbers from 0 to 514.5, most of them small: log"


@pytest.mark.parametrize(
    ("labels", "timed", "threshold"),
    [
        ([1, 2, 3, 4, 5], True, 4.0),
        ([1, 2, 3, 4, 5], False, 4.0),
        ([0, 1], True, 1.0),
        ([1, 4, 10], True, 7.0),
        ([1, 2, 3], True, None),
        ([3, 900], True, None),
        ([0, 1, 2, 3, 4], True, 1.0),  # grades, not ratings: all but 0 are relevant
        ([0, 1, 2, 3], True, 1.0),
        ([0, 0.5, 5], True, 4.0),
        ([0, 0.5, 5], False, 0.5),
        ([-1, 0, 1], False, 1.0),
        ([0, 30, 900], True, 30.0),
    ],
)
def test_smallest_positive_label(labels, timed, threshold):
    assert smallest_positive(profile_column("rating", labels), timed=timed)[0] == threshold


def test_words_and_subjects():
    assert words_of("customerID") == ("customer", "id")
    assert words_of("Größe (cm)") == ("größe", "cm")
    assert subject_of("Item-IDs") == subject_of("items") == {"item"}
    assert subject_of("id") == set()


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("Preis (€)", "preis"),
        ("2nd", "column_2nd"),
        ("価格", "column"),
        ("unitPrice", "unit_price"),
    ],
)
def test_feature_names(column, name):
    assert feature_name(column) == name
    assert feature_name(column, {name}) == f"{name}_2"


@given(st.text(max_size=100))
def test_any_column_gets_a_valid_name(column):
    name = feature_name(column)
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name)
    assert name not in RESERVED_NAMES
