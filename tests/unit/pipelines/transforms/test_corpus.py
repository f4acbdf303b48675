"""Matching of interactions, candidates that occur twice, and frequencies, worked out by hand."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from apache_beam import Create

from pipelines.transforms.corpus import (
    BuildCorpus,
    CountCandidates,
    MatchCandidates,
    add_tallies,
    first_of,
    read_candidate_table,
)
from pipelines.transforms.records import Entity, entity_columns
from pipelines.transforms.table_sources import find_source
from tests.fixtures.tiny import tiny_spec, write_tiny_preprocessed, write_tiny_tables
from tests.unit.pipelines.transforms.event_tables import check, read_events, run_beam, spec_of
from tfrs_twotower.data.loading import load_corpus, parse_corpus
from tfrs_twotower.errors import DataError

DAY_S = 86_400
END = 10 * DAY_S
SPEC = tiny_spec()


def test_events_of_unknown_candidates_are_put_aside_before_anything_is_counted():
    candidates = [Entity(name, at, name, "", (name,)) for at, name in enumerate("abab", start=1)]
    events = read_events("query candidate time\nq a 1\nq x 2\nr b 3\nr x 1\nr a 5\nr y 6")

    def build(root):
        records = root | "Candidates" >> Create([tuple(one) for one in candidates])
        bad = root | "Bad" >> Create(
            [
                ("candidates", 5, "y", "has no time", "", ""),
                ("candidates", 1, "x", "column 'price': not a number", "'V'", "price"),
            ]
        )
        events_in = root | "Events" >> Create([tuple(e) for e in events])
        found = (records, events_in, bad) | MatchCandidates()
        return {name: getattr(found, name) for name in ("events", "candidates", "bad")}

    found = run_beam(build)
    assert sorted(found["events"], key=lambda event: event[-1]) == [
        tuple(events[place]) for place in (0, 2, 4)
    ]
    assert sorted(found["candidates"]) == [tuple(one) for one in candidates[:2]]
    assert sorted(found["bad"]) == [
        ("candidates", 3, "a", "duplicate candidate id", "", ""),
        ("candidates", 4, "b", "duplicate candidate id", "", ""),
        ("interactions", 2, "x", "unknown candidate", "", ""),
        ("interactions", 4, "x", "unknown candidate", "", ""),
        ("interactions", 6, "y", "its candidate's own record is bad", "", ""),
    ]


def test_the_first_record_in_the_source_counts_in_whatever_order_they_come():
    records = [Entity("a", position, f"title {position}", "", ()) for position in (3, 5, 9)]
    for order in itertools.permutations(records):
        assert first_of(order) == (records[0], [5, 9])
    assert first_of([]) == (None, [])


@pytest.mark.parametrize("recent_days", [1.0, 0.5])
def test_recent_is_within_the_last_days_of_the_training_window(recent_days):
    since = END - int(recent_days * DAY_S)
    events = [
        ("at_the_edge", (since, True)),
        ("before_it", (since - 1, True)),
        ("negative", (since, False)),
        ("often", (0, True)),
        ("often", (since - 1, False)),
        ("often", (END - 1, True)),
        ("often", (END, True)),  # of a session that began in the window
    ]

    def build(root):
        end = root | "End" >> Create([END])
        tallies = (root | "Events" >> Create(events), end) | CountCandidates(recent_days)
        return {"tallies": tallies}

    assert dict(run_beam(build)["tallies"]) == {
        "at_the_edge": (1, 1, 1),
        "before_it": (1, 1, 0),
        "negative": (1, 0, 0),
        "often": (4, 3, 2),
    }


def test_tallies_add_up_part_by_part():
    assert add_tallies([(1, 0, 0), (5, 4, 2), (1, 1, 1)]) == (7, 5, 3)
    assert add_tallies([]) == (0, 0, 0)


def test_every_candidate_is_in_the_corpus_and_only_trained_ones_are_learned_from():
    spec = spec_of()
    candidates = [Entity(name, 1, f"Title of {name}", "", (name,)) for name in ("a", "b", "new")]
    tallies = [("a", (3, 2, 1)), ("b", (1, 0, 0))]

    def build(root):
        records = root | "Candidates" >> Create([tuple(one) for one in candidates])
        choices = root | "Fresh" >> Create(["b", "new", "new"])
        found = (records, root | "Tallies" >> Create(tallies), choices) | BuildCorpus(spec, 1)
        return {name: getattr(found, name) for name in ("items", "trained", "fresh", "counts")}

    found = run_beam(build)
    frequencies = [item for (name, _), item in found["items"] if name == "frequencies"]
    assert sorted(frequencies) == [("a", 2, 1), ("b", 0, 0), ("new", 0, 0)]
    corpus = [item[-1] for (name, _), item in found["items"] if name == "corpus"]
    check(corpus, "candidate\na\nb\nnew")
    # Their events count, whatever the label.
    assert sorted(found["trained"]) == [(1, ("b",), "b"), (3, ("a",), "a")]
    assert sorted(found["fresh"]) == [(1, ("b",), "b"), (2, ("new",), "new")]
    assert sorted(found["counts"]) == [
        ("candidates", 1),
        ("candidates", 1),
        ("candidates", 1),
        ("tallied_events", 1),
        ("tallied_events", 3),
    ]


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
