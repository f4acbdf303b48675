"""Matching of interactions, candidates that occur twice, and frequencies, worked out by hand."""

import itertools
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from apache_beam import Create

from pipelines.transforms import batches
from pipelines.transforms.corpus import (
    BuildCorpus,
    CountCandidates,
    MatchCandidates,
    read_candidate_table,
)
from pipelines.transforms.records import Entity, entity_columns
from pipelines.transforms.sharded_output import (
    FREQUENCIES_SCHEMA,
    Output,
    ShardFiles,
    write_parquet,
    write_tfrecords,
)
from pipelines.transforms.table_sources import find_source
from tests.fixtures.tiny import tiny_spec, write_tiny_preprocessed, write_tiny_tables
from tests.unit.pipelines.transforms.event_tables import (
    check,
    entities_table,
    events_table,
    read_events,
    read_files,
    rows_of,
    run_beam,
    spec_of,
)
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.data.loading import load_corpus, parse_corpus
from tfrs_twotower.errors import DataError

DAY_S = 86_400
END = 10 * DAY_S
SPEC = tiny_spec()


def test_events_of_unknown_candidates_are_put_aside_before_anything_is_counted():
    candidates = [Entity(name, at, name, "", (name,)) for at, name in enumerate("abab", start=1)]
    events = read_events("query candidate time\nq a 1\nq x 2\nr b 3\nr x 1\nr a 5\nr y 6")
    known = [
        batches.packed(entities_table(spec_of(), some, "candidate"))
        for some in (candidates[:2], candidates[2:])
    ]

    def build(root):
        records = root | "Candidates" >> Create(known)
        bad = root | "Bad" >> Create(
            [
                ("candidates", 5, "y", "has no time", "", ""),
                ("candidates", 1, "x", "column 'price': not a number", "'V'", "price"),
            ]
        )
        events_in = root | "Events" >> Create([batches.packed(events_table(events))])
        found = (records, events_in, bad) | MatchCandidates(2)
        return {name: getattr(found, name) for name in ("events", "candidates", "bad")}

    found = run_beam(build)
    rows = sorted(rows_of(found["events"]), key=lambda row: row["position"])
    assert [tuple(row.values()) for row in rows] == [tuple(events[at]) for at in (0, 2, 4)]
    first = rows_of(part for _, part in found["candidates"])
    assert sorted((row["entity_id"], row["position"]) for row in first) == [("a", 1), ("b", 2)]
    assert all(
        shard == shard_of(row["entity_id"], 2)
        for shard, part in found["candidates"]
        for row in rows_of([part])
    )
    assert sorted(found["bad"]) == [
        ("candidates", 3, "a", "duplicate candidate id", "", ""),
        ("candidates", 4, "b", "duplicate candidate id", "", ""),
        ("interactions", 2, "x", "unknown candidate", "", ""),
        ("interactions", 4, "x", "unknown candidate", "", ""),
        ("interactions", 6, "y", "its candidate's own record is bad", "", ""),
    ]


def test_the_first_record_in_the_source_counts_in_whatever_order_they_come():
    records = [Entity("a", at, f"title {at}", "", ("a",)) for at in (3, 5, 9)]
    for order in itertools.permutations(records):
        first, others = batches.first_of_each(entities_table(spec_of(), order, "candidate"))
        assert first["title"].to_pylist() == ["title 3"]
        assert others["position"].to_pylist() == [5, 9]


@pytest.mark.parametrize("recent_days", [1.0, 0.5])
def test_recent_is_within_the_last_days_of_the_training_window(recent_days):
    since = END - int(recent_days * DAY_S)
    events = [
        ("at_the_edge", since, True),
        ("before_it", since - 1, True),
        ("negative", since, False),
        ("often", 0, True),
        ("often", since - 1, False),
        ("often", END - 1, True),
        ("often", END, True),  # of a session that began in the window
    ]
    names = ("candidate_id", "time", "positive")
    parts = [
        (0, batches.packed(pa.table(dict(zip(names, zip(*some, strict=True), strict=True)))))
        for some in (events[:5], events[5:])
    ]

    def build(root):
        end = root | "End" >> Create([END])
        tallies = (root | "Events" >> Create(parts), end) | CountCandidates(recent_days)
        return {"tallies": tallies}

    tallies = rows_of(part for _, part in run_beam(build)["tallies"])
    assert {row.pop("candidate_id"): tuple(row.values()) for row in tallies} == {
        "at_the_edge": (1, 1, 1),
        "before_it": (1, 1, 0),
        "negative": (1, 0, 0),
        "often": (4, 3, 2),
    }


def test_every_candidate_is_in_the_corpus_and_only_trained_ones_are_learned_from(tmp_path):
    spec = spec_of()
    candidates = [Entity(name, 1, f"Title of {name}", "", (name,)) for name in ("new", "a", "b")]
    tallies = {"candidate_id": ["a", "b"], "events": [3, 1], "positives": [2, 0], "recent": [1, 0]}
    choices = {"candidate_id": ["b", "new", "new"], "events": [1, 1, 1]}

    write = partial(write_parquet, FREQUENCIES_SCHEMA)
    outputs = {"frequencies": Output(write, ".parquet", 1, of_table=True)}
    outputs["corpus"] = Output(write_tfrecords, ".tfrecord.gz", 1, of_table=True)

    def build(root):
        first, _ = batches.first_of_each(entities_table(spec, candidates, "candidate"))
        tables = [first, pa.table(tallies), pa.table(choices)]
        parts = [
            root | f"Table{at}" >> Create([(0, batches.packed(table))])
            for at, table in enumerate(tables)
        ]
        found = tuple(parts) | BuildCorpus(spec, 1, ShardFiles(str(tmp_path), outputs, "numbers"))
        return {name: getattr(found, name) for name in ("written", "trained", "fresh", "counts")}

    found = run_beam(build)
    frequencies = read_files(tmp_path, spec)["frequencies"]
    assert [tuple(row.values()) for row in frequencies] == [("a", 2, 1), ("b", 0, 0), ("new", 0, 0)]
    check(read_files(tmp_path, spec)["corpus"], "candidate\na\nb\nnew")
    for name, expected in (("trained", {"b": 1, "a": 3}), ("fresh", {"b": 1, "new": 2})):
        rows = rows_of(found[name])  # their events count, whatever the label
        assert {row["entity_id"]: row["events"] for row in rows} == expected
        assert all(row["value:candidate"] == row["entity_id"] for row in rows)
    assert sorted(found["counts"]) == [("candidates", 3), ("tallied_events", 4)]


def read(directory):
    columns = entity_columns(SPEC.candidates, SPEC.candidate.features, "candidate")
    return read_candidate_table(
        find_source("candidates", SPEC.candidates, columns, directory), SPEC
    )


def test_a_table_gives_the_corpus_that_preprocessing_gives(tmp_path):
    write_tiny_tables(tmp_path)
    table = read(tmp_path)
    assert table.bad == []
    corpus = parse_corpus(tf.data.Dataset.from_tensor_slices(table.examples), SPEC, tmp_path)
    write_tiny_preprocessed(tmp_path / "preprocessed")
    expected = load_corpus(tmp_path / "preprocessed", SPEC)
    np.testing.assert_array_equal(corpus.ids, expected.ids)
    np.testing.assert_array_equal(corpus.titles, expected.titles)
    assert corpus.raw.keys() == expected.raw.keys()
    for name, values in expected.raw.items():
        np.testing.assert_array_equal(corpus.raw[name], values, err_msg=name)


def test_bad_records_are_named_and_the_first_of_an_id_counts(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "items.csv").write_text(
        "item,brand,topics,price,title,description,released\n"
        "a,x,jazz,1,First,,\n"
        "a,y,jazz,2,Second,,\n"
        "b,x,jazz,dear,,,\n"
        ",x,jazz,1,,,\n"
        "c,x\n"
    )
    table = read(tmp_path)
    path = tmp_path / "tiny" / "items.csv"
    assert table.bad == [
        f"{path}:3: duplicate candidate id",
        f"{path}:5: missing candidate id in column 'item'",
        f"{path}:6: has another number of fields than the header's 7",
    ]
    assert table.bad_cells == {"price": [f"{path}:4: column 'price': not a number (found 'dear')"]}
    first, without_price = (
        tf.train.Example.FromString(example).features.feature for example in table.examples
    )
    assert first["_title"].bytes_list.value[0] == b"First"
    assert np.isnan(without_price["price"].float_list.value[0])
    assert table.forms["price", "present"][0] == 4


def test_a_table_without_a_column(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "items.csv").write_text("item,brand\na,b\n")
    with pytest.raises(DataError, match=r"missing column .*'topics'"):
        read(tmp_path)
