"""Cells by columns: whatever they are, what comes out is what single records give."""

import datetime
import math
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.transforms import records, table_parts
from pipelines.transforms.event_records import EventParser, interaction_columns
from pipelines.transforms.reading import Reading
from pipelines.transforms.table_sources import find_source
from tests.unit.pipelines.transforms.event_tables import spec_of
from tfrs_twotower.specs import FeatureSpec

NUMBER = 400
LAST = {"kind": "per_query_last", "test": 1, "validation": 1}
START_S = 1_300_000_000
ODD_IDS = ["", " q1 ", "q 7", None, "nan", "None", "\u00e9q", "q\n1", "a\u2028b", "\u6f22", "\x7f"]
TIMES = [START_S + 1000 * at for at in range(50)]


def drawn(dice, plain, odd, share=0.1):
    return [
        dice.choice(odd) if dice.random() < share else dice.choice(plain) for _ in range(NUMBER)
    ]


def event_columns(dice):
    return {
        "query": drawn(dice, [f"q{at}" for at in range(9)], ODD_IDS),
        "candidate": drawn(dice, [f"c{at}" for at in range(9)], ODD_IDS),
        "time": drawn(dice, TIMES, [None, 5, -1, 1 << 60]),
        "label": drawn(dice, [1.0, 4.5], [None, math.nan, math.inf, 1e39, -0.0]),
        "weight": drawn(dice, [1.0, 0.5], [None, -1.0, math.nan]),
        "session": drawn(dice, ["s1", "s2", ""], [None, "[1, 2]", "null", " s1", "(x)"]),
    }


def as_text(values):
    return [None if value is None else str(value) for value in values]


def both_ways(directory, parse, described, columns, table, **options):
    """What reading a file by columns and by records gives."""
    pq.write_table(table, directory / "t.parquet", row_group_size=150)
    source = find_source(options.pop("name"), described, columns, directory, **options)
    found = []
    for parts in (table_parts.parts_of(source), [table_parts.Part(0, None, True)]):
        reading = Reading(source, parse)
        tables, bad = zip(*[one for part in parts for one in reading.tables(part)], strict=True)
        rows = pa.concat_tables(tables).sort_by("position").to_pylist()
        found.append(
            {
                "rows": repr(rows),  # NaN is not equal to NaN
                "bad": sorted(one for some in bad for one in some),
                "seen": dict(reading.watch.seen()),
                "counts": (reading.number_read, reading.left_out),
                "notes": (reading.notes.padded_ids, reading.notes.first_padded),
            }
        )
    return found


CASES = {
    "plain": ({}, {}),
    "text": ({}, {"time": as_text, "label": as_text, "weight": as_text}),
    "missing": ({"missing": ["nan", "4.5"]}, {"label": as_text}),
    "left out": ({"leave_out": {"session": ["s1"], "query": ["q3"]}}, {}),
    "commas": (
        {"decimal": ","},
        {"label": lambda v: [x and x.replace(".", ",") for x in as_text(v)]},
    ),
    "milliseconds": (
        {"timestamp": {"column": "time", "unit": "ms"}},
        {"time": lambda values: [value and value * 1000 % (1 << 62) for value in values]},
    ),
    "order": ({"timestamp": {"column": "time", "unit": "order"}}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_events_by_columns_are_those_of_records(case, tmp_path):
    options, changes = CASES[case]
    columns = event_columns(random.Random(3))
    columns |= {name: change(columns[name]) for name, change in changes.items()}
    spec = spec_of(LAST, path="t.parquet", weight="weight", session="session", **options)
    names = interaction_columns(spec.interactions)
    by_columns, by_records = both_ways(
        tmp_path,
        EventParser(spec),
        spec.interactions,
        names,
        pa.table(columns),
        name="interactions",
        numbers=records.number_columns(spec.interactions),
    )
    assert by_columns == by_records
    assert by_records["bad"]
    assert by_records["counts"][0] == NUMBER


def test_typed_columns_and_those_of_the_path(tmp_path):
    dice = random.Random(4)
    columns = event_columns(dice)
    naive = [datetime.datetime(2020, 1, 1, 1, 2, 3, at) for at in range(9)]
    table = {
        "query": pa.array(drawn(dice, range(50), [None]), pa.int64()),
        "candidate": pa.array(columns["candidate"]).dictionary_encode(),
        "time": pa.array(drawn(dice, naive, [None]), pa.timestamp("ns")),
        "label": pa.array(drawn(dice, [1, 2], [1 << 40]), pa.int64()),
        "weight": pa.array(drawn(dice, [1, 2], [None]), pa.int32()),
    }
    directory = tmp_path / "session=s%201"
    directory.mkdir()
    spec = spec_of(
        path="**/t.parquet", weight="weight", session="session",
        timestamp={"column": "time", "unit": "iso"},
    )  # fmt: skip
    pq.write_table(pa.table(table), directory / "t.parquet", row_group_size=150)
    names = interaction_columns(spec.interactions)
    source = find_source("interactions", spec.interactions, names, tmp_path)
    found = []
    for parts in (table_parts.parts_of(source), [table_parts.Part(0, None, True)]):
        reading = Reading(source, EventParser(spec))
        tables = [table for part in parts for table, _ in reading.tables(part)]
        found.append(pa.concat_tables(tables).sort_by("position").to_pylist())
    assert found[0] == found[1]
    assert {row["session"] for row in found[0]} == {"s 1"}
    assert {type(row["query_id"]) for row in found[0]} == {str}


FEATURES = [
    {"name": "own", "kind": "id", "column": "item"},
    {"name": "brand", "kind": "categorical"},
    {"name": "tags", "kind": "multi_categorical"},
    {"name": "price", "kind": "numeric"},
    {"name": "cost", "kind": "numeric", "format": "comma"},
    {"name": "made", "kind": "timestamp", "unit": "iso", "parts": ["hour_of_day"]},
    {"name": "title", "kind": "text"},
    {"name": "about", "kind": "text", "format": "html"},
]


@pytest.mark.parametrize("kind", ["text", "typed"])
@pytest.mark.parametrize("bad_cells", ["missing", "quarantine"])
@pytest.mark.parametrize("whole", [False, True])
def test_entities_by_columns_are_those_of_records(kind, bad_cells, whole, tmp_path):
    dice = random.Random(5)
    moment = datetime.datetime(2011, 1, 1, 5)
    ids = [str(at) for at in range(NUMBER)] if whole else [f"i{at}" for at in range(NUMBER)]
    columns = {
        "item": [dice.choice([*ODD_IDS, "7.0"]) if dice.random() < 0.1 else one for one in ids],
        "brand": drawn(dice, ["x", "y z", ""], [None, "[x]", " {y", "N/A", "a\tb", "a\nb"]),
        "tags": drawn(dice, ["a|b", "b"], [None, "", "['a']", "a;b", "x\ny"]),
        "price": drawn(dice, ["1.5", "20"], [None, "", "  ", "dear", "1_0", "$3", "nan", "1e99"]),
        "cost": drawn(dice, ["1,5"], [None, "", "2.5", "x"]),
        "made": drawn(
            dice, ["2011-01-01", "2011-01-01T05:00:00Z"], [None, "", "soon", "9999-01-01"]
        ),
        "title": drawn(dice, ["Thing", "caf\u00e9"], [None, "", "[1, 2]"]),
        "about": drawn(dice, ["<b>so</b>", "plain"], [None, "a &amp; b"]),
    }
    if kind == "typed":
        columns["tags"] = drawn(dice, [["a", "b"], []], [None, ["x\ny"], [""]])
        columns["price"] = drawn(dice, [1.5, 2.0], [None, math.nan, math.inf, 1e300])
        columns["made"] = drawn(dice, [moment], [None])
    document = spec_of().model_dump(mode="json")
    document["candidates"] = {"path": "t.parquet", "id": "item", "title": "title"}
    document["candidates"] |= {"bad_cells": bad_cells, "whole_number_ids": whole}
    document["candidate"]["features"] = FEATURES
    spec = FeatureSpec.model_validate(document)
    features = spec.candidate.features
    by_columns, by_records = both_ways(
        tmp_path,
        records.EntityParser(spec.candidates, features, "candidate"),
        spec.candidates,
        records.entity_columns(spec.candidates, features, "candidate"),
        pa.table(columns),
        name="candidates",
        numbers=records.number_columns(spec.candidates, features),
    )
    assert by_columns == by_records
    assert by_records["bad"]
