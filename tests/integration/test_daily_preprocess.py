"""A daily run preprocesses what a full run would, of what is new; windows never move back."""

import json
from dataclasses import replace

import pytest

from pipelines.stages import preprocess, up_to_date
from pipelines.transforms.splits import last_counts
from tests.fixtures.recorder import Recorder
from tests.integration.preprocess_world import (
    DAY_S,
    SPEC,
    START_S,
    context_of,
    examples,
    frequencies,
    interactions,
    random_events,
    statistics,
    vocabulary,
    write_tables,
)
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.specs import PerQueryLastSplit

pytestmark = pytest.mark.integration
SINCE_S = START_S // DAY_S * DAY_S + 26 * DAY_S
SINCE = "2011-04-08"
PER_QUERY = {"kind": "per_query_last", "test": 0.2, "validation": 0.2}
SHARES = {"kind": "temporal", "test_fraction": 0.2, "validation_fraction": 0.2}
DATES = {"kind": "temporal", "validation_from": "2011-04-04", "test_from": "2011-04-10"}


def spec_of(split):
    table = {key: value for key, value in SPEC["interactions"].items() if key != "session"}
    return {**SPEC, "interactions": {**table, "path": "events*.csv"}, "split": split}


def events():
    """Rows by time; no two of a query at one time, because a partition changes their order."""
    rows = {
        (query, at): (query, item, at, stars, "") for query, item, at, stars, _ in random_events(7)
    }
    return sorted(rows.values(), key=lambda row: row[2])


def write_day(directory, rows, name):
    lines = ["query,candidate,at,stars,session", *(",".join(map(str, row)) for row in rows)]
    (directory / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def sort_all(rows):
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def contents(artifact):
    """Everything that must be the same; sorted, because a full run orders vocabularies anew."""
    return {
        **{
            name: sort_all(examples(artifact, name))
            for name in ("train", "fresh", "validation", "test", "corpus")
        },
        "interactions": sort_all(interactions(artifact)),
        "frequencies": frequencies(artifact),
        "item": sorted(vocabulary(artifact, "item")),
        "tag": sorted(vocabulary(artifact, "tag")),
        "window": statistics(artifact)["window"],
        "positives": statistics(artifact)["positives"],
    }


@pytest.mark.parametrize(
    "split",
    [
        pytest.param(PER_QUERY, id="last", marks=pytest.mark.slow),
        pytest.param(SHARES, id="shares"),
        pytest.param(DATES, id="dates", marks=pytest.mark.slow),
    ],
)
def test_a_day_gives_what_a_full_run_gives(tmp_path, split):
    spec, rows = spec_of(split), events()
    write_tables(tmp_path, [row for row in rows if row[2] < SINCE_S])
    before = preprocess.run(context_of(tmp_path, spec))
    order = vocabulary(tmp_path / "work" / "preprocessed", "item")
    numeric = statistics(tmp_path / "work" / "preprocessed")["numeric"]
    new = [row for row in rows if row[2] >= SINCE_S]
    assert 10 < len(new) < len(rows) / 2
    write_day(tmp_path, new, "events-2.csv")
    context = replace(context_of(tmp_path, spec, reporter=Recorder()), since=SINCE)
    manifest = preprocess.run(context)
    facts = manifest.details["daily"]
    assert (facts["new_events"], facts["late_events"], facts["files_read"]) == (len(new), 0, 1)
    assert facts["base"] == before.fingerprint
    full = preprocess.run(context_of(tmp_path, spec, workdir="full"))
    daily, whole = tmp_path / "work" / "preprocessed", tmp_path / "full" / "preprocessed"
    if split is PER_QUERY:  # where a window would move back, it stays
        differ = set(sort_all(interactions(daily))) ^ set(sort_all(interactions(whole)))
        assert len(differ) / 2 < 0.1 * len(rows)
        assert manifest.counts["interactions"] == full.counts["interactions"]
    else:
        assert contents(daily) == contents(whole)
    assert vocabulary(daily, "item")[: len(order)] == order
    assert statistics(daily)["numeric"] == numeric
    assert not up_to_date.check(context, "preprocessed").reason
    assert not up_to_date.check(context_of(tmp_path, spec), "preprocessed").reason
    assert preprocess.run(context).fingerprint == manifest.fingerprint  # twice is the same as once


def windows(artifact):
    return {
        (row["query_id"], row["candidate_id"], row["timestamp"]): row["split"]
        for row in interactions(artifact)
    }


@pytest.mark.parametrize(
    "split",
    [
        pytest.param(PER_QUERY, id="last"),
        pytest.param(SHARES, id="shares", marks=pytest.mark.slow),
    ],
)
def test_what_a_model_has_learned_is_never_evaluated(tmp_path, split):
    """A fifth of nine events is one, of ten two: with a tenth event a window would move back."""
    spec = spec_of(split)
    rows = [("q1", f"c{n}", START_S + n * DAY_S, 5, "") for n in range(9)]
    rows += [("q2", f"c{n}", START_S + n * DAY_S, 5, "") for n in range(9)]
    write_tables(tmp_path, rows)
    preprocess.run(context_of(tmp_path, spec))
    before = windows(tmp_path / "work" / "preprocessed")
    # Many events of one moment before the old cut-off would move a cut-off by shares back.
    write_day(tmp_path, [("q1", "c12", START_S + 9 * DAY_S, 5, "")], "events-2.csv")
    context = replace(context_of(tmp_path, spec), since="2011-03-22")
    preprocess.run(context)
    after = windows(tmp_path / "work" / "preprocessed")
    order = ("train", "validation", "test")
    assert len(after) == 19
    for key, window in before.items():
        assert order.index(after[key]) <= order.index(window), key
    rule = PerQueryLastSplit(**PER_QUERY)
    assert last_counts(rule, 9) == (1, 1)  # seven of nine events were learned
    assert last_counts(rule, 10) == (2, 2)  # of which the rule alone would leave six


def test_late_events_are_counted_said_and_left_for_a_full_run(tmp_path):
    spec = spec_of(SHARES)
    rows = events()
    write_tables(tmp_path, [row for row in rows if row[2] < SINCE_S])
    preprocess.run(context_of(tmp_path, spec))
    late = [("q1", "c3", SINCE_S - 1, 4, ""), ("q2", "c4", SINCE_S - 7, 4, "")]
    unknown = [("q2", "c99", SINCE_S - 7, 4, "")]
    new = [row for row in rows if row[2] >= SINCE_S]
    write_day(tmp_path, late + unknown + new, "events-2.csv")
    context = replace(context_of(tmp_path, spec, reporter=Recorder()), since=SINCE)
    manifest = preprocess.run(context)
    assert manifest.details["daily"]["late_events"] == 2
    assert manifest.counts["interactions"] == len(rows)
    said = "\n".join(context.reporter.messages)
    assert f"2 events before {SINCE} came late and are left out" in said
    assert not up_to_date.check(context, "preprocessed").reason
    plain = context_of(tmp_path, spec)
    assert up_to_date.check(plain, "preprocessed").reason
    earlier = replace(context, since="2011-04-01")
    assert up_to_date.check(earlier, "preprocessed").reason


@pytest.mark.slow
def test_a_table_that_grew_is_read_and_only_what_is_new_is_taken(tmp_path):
    spec, rows = spec_of(DATES), events()
    write_tables(tmp_path, [row for row in rows if row[2] < SINCE_S])
    preprocess.run(context_of(tmp_path, spec))
    write_tables(tmp_path, rows)  # the same file
    context = replace(context_of(tmp_path, spec), since=SINCE)
    facts = preprocess.run(context).details["daily"]
    new = sum(row[2] >= SINCE_S for row in rows)
    assert (facts["new_events"], facts["late_events"]) == (new, 0)
    full = preprocess.run(context_of(tmp_path, spec, workdir="full"))
    assert full.counts["interactions"] == len(rows)
    assert contents(tmp_path / "work" / "preprocessed") == contents(
        tmp_path / "full" / "preprocessed"
    )


@pytest.mark.slow
def test_without_a_base_all_tables_are_read_and_it_says_why(tmp_path):
    spec = spec_of(SHARES)
    write_tables(tmp_path, events())
    context = replace(context_of(tmp_path, spec, reporter=Recorder()), since=SINCE)
    assert "daily" not in preprocess.run(context).details
    assert f"--since {SINCE}: reads all tables: " in context.reporter.messages[0]
    assert "there is no finished 'preprocessed' artifact" in context.reporter.messages[0]
    with_sessions = {**spec, "interactions": {**spec["interactions"], "session": "session"}}
    preprocess.run(context_of(tmp_path, with_sessions))
    context = replace(context_of(tmp_path, with_sessions, reporter=Recorder()), since=SINCE)
    preprocess.run(context)
    assert "sessions may go on from one day to the next" in context.reporter.messages[0]
    assert read_manifest(tmp_path / "work" / "preprocessed", "preprocessed").counts["candidates"]
