"""Interactions without a candidate record, and candidates that stand twice, by hand."""

import itertools

from apache_beam import Create

from pipelines.transforms.corpus import MatchCandidates, first_of
from pipelines.transforms.records import Entity
from tests.unit.pipelines.transforms.event_tables import read_events, run_beam


def test_events_of_unknown_candidates_are_put_aside_before_anything_is_counted():
    candidates = [Entity(name, at, name, "", (name,)) for at, name in enumerate("abab", start=1)]
    events = read_events("query candidate time\nq a 1\nq x 2\nr b 3\nr x 1\nr a 5")

    def build(root):
        records = root | "Candidates" >> Create([tuple(one) for one in candidates])
        found = (records, root | "Events" >> Create([tuple(e) for e in events])) | MatchCandidates()
        return {name: getattr(found, name) for name in ("events", "candidates", "bad")}

    found = run_beam(build)
    assert sorted(found["events"], key=lambda event: event[-1]) == [
        tuple(events[place]) for place in (0, 2, 4)
    ]
    assert sorted(found["candidates"]) == [tuple(one) for one in candidates[:2]]
    assert sorted(found["bad"]) == [
        ("candidates", 3, "a", "duplicate candidate id", ""),
        ("candidates", 4, "b", "duplicate candidate id", ""),
        ("interactions", 2, "x", "unknown candidate", ""),
        ("interactions", 4, "x", "unknown candidate", ""),
    ]


def test_the_first_record_in_the_source_counts_in_whatever_order_they_come():
    records = [Entity("a", position, f"title {position}", "", ()) for position in (3, 5, 9)]
    for order in itertools.permutations(records):
        assert first_of(order) == (records[0], [5, 9])
    assert first_of([]) == (None, [])
