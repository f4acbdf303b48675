"""Each way in which records or a whole table can be wrong, and the messages about it."""

import copy
import json
import math

import pytest

from pipelines.stages import preprocess
from tests.fixtures.recorder import Recorder
from tests.integration.preprocess_world import (
    CANDIDATES,
    DAY_S,
    QUERIES,
    SPEC,
    START_S,
    context_of,
    examples,
    quarantined,
    random_events,
    run,
    write_tables,
)
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.config import PreprocessConfig
from tfrs_twotower.config.stage_configs import FEW_BAD_RECORDS
from tfrs_twotower.errors import DataError, FeatureSpecError, MissingArtifact

pytestmark = pytest.mark.integration
AT = START_S + DAY_S


def append(path, line):
    with path.open("ab") as stream:
        stream.write(line + b"\n")


def reasons_of(manifest, table):
    return manifest.details["quarantine_reasons"][table]


def test_bad_records_are_quarantined_with_their_place_and_the_rest_is_used(tmp_path):
    rows = random_events(0)
    write_tables(tmp_path, rows)
    clean = run(tmp_path, workdir="clean")
    events = tmp_path / "events.csv"
    for line in (
        b"q1,c1,%d,nan," % AT,  # line 242: the header and 240 events come before
        b"q1,c1,%d,," % AT,
        b"q1,c1,%d,inf," % AT,
        b"q1,c99,%d,5," % AT,
        b"q1,,%d,5," % AT,
        b"q1,c\xff,%d,5," % AT,
        b"q1,c1,%d,5," % (AT * 1000),
        b"q1,c1",
    ):
        append(events, line)
    append(tmp_path / "candidates.csv", b"c3,again,,1,")
    append(tmp_path / "candidates.csv", b"c90,odd price,,cheap,")
    append(tmp_path / "queries.csv", b"q3,green,1")
    manifest = run(tmp_path)
    directory = tmp_path / "work" / "preprocessed" / "quarantine"
    assert quarantined(directory, "interactions") == {
        ("q1", "label in column 'stars': missing or NaN (found 'nan')", "events.csv:242"),
        ("q1", "label in column 'stars': missing or NaN", "events.csv:243"),
        (
            "q1",
            "label in column 'stars': infinite or beyond float32 (found 'inf')",
            "events.csv:244",
        ),
        ("c99", "unknown candidate", "events.csv:245"),
        ("q1", "missing candidate id in column 'candidate'", "events.csv:246"),
        ("", "not valid UTF-8", "events.csv:247"),
        (
            "q1",
            "timestamp in column 'at': outside 1990 to 2100 in unit s: looks like milliseconds: "
            f"set unit: ms (found '{AT * 1000}')",
            "events.csv:248",
        ),
        ("", "has another number of fields than the header's 5", "events.csv:249"),
    }
    assert quarantined(directory, "candidates") == {
        ("c3", "duplicate candidate id", "candidates.csv:22"),
        ("c90", "column 'price': not a number (found 'cheap')", "candidates.csv:23"),
    }
    (odd,) = [one for one in examples(directory.parent, "corpus") if "c90" in one["_candidate_id"]]
    assert math.isnan(odd["price"][0])  # the record is used, without the cell
    assert quarantined(directory, "queries") == {("q3", "duplicate query id", "queries.csv:14")}
    assert manifest.counts["quarantined_interactions"] == 8
    assert manifest.counts["quarantined_candidates"] == 1
    assert manifest.counts["bad_cells_candidates"] == 1
    assert any("not a number (found 'cheap')" in r for r in reasons_of(manifest, "candidates"))
    assert manifest.counts["quarantined_queries"] == 1
    bad = ("quarantined", "bad_cells")
    kept = {name: number for name, number in manifest.counts.items() if not name.startswith(bad)}
    before = {name: number for name, number in clean.counts.items() if not name.startswith(bad)}
    assert kept == {**before, "candidates": before["candidates"] + 1}


def test_too_many_bad_records_name_the_commonest_reason(tmp_path):
    rows = [(query, item, at * 1000, *rest) for query, item, at, *rest in random_events(0)]
    write_tables(tmp_path, rows)
    message = (
        r"interactions: 240 of 240 records are bad \(100.0%\); the limit is 1.0% .*"
        r"looks like milliseconds: set unit: ms \(found '\d+'\), 240 times \(such as "
        r".*events.csv:2, .*"
        r"quarantine/preprocess/interactions-\*.jsonl"
    )
    with pytest.raises(DataError, match=message):
        run(tmp_path)
    kept = tmp_path / "work" / "quarantine" / "preprocess"
    assert len(quarantined(kept, "interactions")) == 240
    with pytest.raises(MissingArtifact, match="no finished 'preprocessed' artifact"):
        read_manifest(tmp_path / "work" / "preprocessed", "preprocessed")
    write_tables(tmp_path, random_events(0))
    run(tmp_path)
    assert not kept.exists()


@pytest.mark.parametrize("number", [FEW_BAD_RECORDS, FEW_BAD_RECORDS + 1])
def test_few_bad_records_do_not_fail_a_small_table(tmp_path, number):
    write_tables(tmp_path, random_events(0))
    for _ in range(number):
        append(tmp_path / "events.csv", b"q1,c99,%d,5," % AT)
    if number <= FEW_BAD_RECORDS:
        manifest = run(tmp_path)
        assert manifest.counts["quarantined_interactions"] == number
        return
    message = (  # 11 / (240 + 11)
        r"interactions: 11 of 251 records are bad \(4.4%\); the limit is 1.0% .* or 10 records, "
        r"at most a tenth. Most common: unknown candidate, 11 times "
        r"\(such as key 'c99' in .*events.csv:242, "
    )
    with pytest.raises(DataError, match=message):
        run(tmp_path)


def test_a_small_table_without_a_usable_record_fails(tmp_path):
    write_tables(tmp_path, [("q1", "c99", AT, 5, "")])
    message = (
        r"interactions: 1 of 1 records are bad \(100.0%\): none is usable. Most common: "
        r"unknown candidate, once \(key 'c99' in [^,]*events.csv:2\)"
    )
    with pytest.raises(DataError, match=message):
        run(tmp_path, max_bad_fraction=1.0)
    kept = tmp_path / "work" / "quarantine" / "preprocess"
    assert len(quarantined(kept, "interactions")) == 1


def test_the_documentation_tells_how_many_are_few():
    described = PreprocessConfig.model_fields["max_bad_fraction"].description
    assert f"more than {FEW_BAD_RECORDS} (" in " ".join(described.split())


def test_negative_weights(tmp_path):
    write_tables(tmp_path, random_events(0))
    spec = copy.deepcopy(SPEC)
    spec["interactions"]["weight"] = "stars"
    append(tmp_path / "events.csv", b"q1,c1,%d,-1," % AT)
    run(tmp_path, spec=spec)
    bad = quarantined(tmp_path / "work" / "preprocessed" / "quarantine", "interactions")
    reason = "negative weight in column 'stars' (found -1.0)"
    assert bad == {("q1", reason, "events.csv:242")}


def test_nothing_to_train_on(tmp_path):
    write_tables(tmp_path, random_events(0))
    spec = copy.deepcopy(SPEC)
    spec["relevance"] = {"min_label": 6}
    with pytest.raises(DataError, match="the training window has no positive interaction"):
        run(tmp_path, spec=spec)


def test_a_query_feature_without_a_queries_table(tmp_path):
    spec = copy.deepcopy(SPEC)
    del spec["queries"]
    with pytest.raises(FeatureSpecError, match="'colour' is read from the column 'colour' of the"):
        run(tmp_path, spec=spec)


def test_a_given_split(tmp_path):
    write_tables(tmp_path, [])
    (tmp_path / "events.jsonl").write_text(
        "".join(
            json.dumps({"query": f"q{n}", "candidate": n, "stars": 5}) + "\n" for n in range(8)
        ),
        encoding="utf-8",
    )
    parts = ["train"] * 5 + ["dev", "test", "train?"]
    (tmp_path / "queries.jsonl").write_text(
        "".join(
            json.dumps({"query": f"q{n}", "split": part}) + "\n" for n, part in enumerate(parts)
        ),
        encoding="utf-8",
    )
    (tmp_path / "candidates.jsonl").write_text(
        "".join(json.dumps({"candidate": n}) + "\n" for n in range(8)), encoding="utf-8"
    )
    spec = {
        "name": "given",
        "interactions": {"path": "events.jsonl", "query_id": "query", "candidate_id": "candidate"},
        "queries": {"path": "queries.jsonl", "id": "query", "split": "split"},
        "candidates": {"path": "candidates.jsonl", "id": "candidate"},
        "query": {"features": [{"name": "query", "kind": "id"}]},
        "candidate": {"features": [{"name": "candidate", "kind": "id"}]},
        "split": {"kind": "given", "validation": "dev"},
    }
    run(tmp_path, spec=spec)
    artifact = tmp_path / "work" / "preprocessed"
    assert {one["_candidate_id"][0] for one in examples(artifact, "train", spec)} == set("01234")
    (test,) = examples(artifact, "test")
    assert (test["_query_id"], test["_relevant"], test["_gain"]) == (["q6"], ["6"], [1.0])
    assert (test["_timestamp"], test["_seen"], test["_num_events"]) == ([0], [], [0])
    bad = quarantined(artifact / "quarantine", "interactions")
    assert {reason for _, reason, _ in bad} == {"split 'train?' is none of train, dev, test"}


def test_the_fingerprint_follows_the_tables_and_the_config(tmp_path):
    write_tables(tmp_path, random_events(0))
    first = preprocess.config_fingerprint(context_of(tmp_path))
    assert preprocess.config_fingerprint(context_of(tmp_path)) == first
    assert preprocess.config_fingerprint(context_of(tmp_path, num_shards=2)) != first
    write_tables(tmp_path, random_events(0), QUERIES, [*CANDIDATES, "c77,new,,1,"])
    assert preprocess.config_fingerprint(context_of(tmp_path)) != first


def test_a_person_is_told(tmp_path):
    recorder = Recorder()
    write_tables(tmp_path, random_events(0))
    append(tmp_path / "candidates.csv", b"c3,again,,1,")
    run(tmp_path, reporter=recorder)
    assert any(
        text.startswith("candidates: left out 1 of 21 records as bad; most common: duplicate")
        for text in recorder.messages
    )
    assert any("training examples, 20 candidates" in text for text in recorder.messages)
    description, done, total, detail = recorder.steps[-1]
    assert (description, done, total) == ("preprocess", 240 + 21 + 12, None)
    assert detail == "records read"
