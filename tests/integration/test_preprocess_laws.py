"""What must not matter, and what must not leak."""

import copy

import pytest

from pipelines.transforms import beam_job, preprocessing
from tests.integration.preprocess_world import (
    DAY_S,
    SPEC,
    START_S,
    examples,
    frequencies,
    interactions,
    random_events,
    run,
    statistics,
    write_tables,
)

pytestmark = pytest.mark.integration
TEXT = {"name": "title", "column": "name", "kind": "text", "vocabulary_size": 64}


def bytes_of(artifact, *patterns):
    return {
        path.relative_to(artifact).as_posix(): path.read_bytes()
        for pattern in patterns
        for path in sorted(artifact.glob(pattern))
    }


def with_text():
    spec = copy.deepcopy(SPEC)
    spec["candidate"]["features"].append(TEXT)
    return spec


def test_two_runs_write_the_same_bytes_and_shards_do_not_matter(tmp_path):
    write_tables(tmp_path, random_events(5))
    manifests = [
        run(tmp_path, spec=with_text(), workdir=workdir, num_shards=shards)
        for workdir, shards in (("a", 4), ("b", 4), ("c", 1))
    ]
    assert manifests[0].fingerprint == manifests[1].fingerprint
    assert manifests[0].counts == manifests[2].counts
    many, one = tmp_path / "a" / "preprocessed", tmp_path / "c" / "preprocessed"
    for name in ("train", "fresh", "validation", "test", "corpus"):
        assert len(list(many.glob(f"{name}-0*-of-00004.*"))) == 4
        assert sorted(map(repr, examples(many, name))) == sorted(map(repr, examples(one, name)))
    by_time = [
        (e["_timestamp"], e["_query_id"], e["_candidate_id"]) for e in examples(one, "train")
    ]
    assert by_time == sorted(by_time)
    assert sorted(map(repr, interactions(many))) == sorted(map(repr, interactions(one)))
    assert frequencies(many) == frequencies(one)
    same = ("vocabularies/*", "statistics.json")
    assert bytes_of(many, *same) == bytes_of(one, *same)
    assert "title.txt" in {path.name for path in (many / "vocabularies").iterdir()}


def test_a_large_job_is_compressed_and_writes_the_same_bytes(tmp_path, monkeypatch):
    write_tables(tmp_path, random_events(5))
    before = run(tmp_path, spec=with_text())
    compressed = []
    packing = beam_job.packing

    def watched(options, *, compress):
        compressed.append(compress)
        return packing(options, compress=compress)

    monkeypatch.setattr(beam_job, "packing", watched)
    monkeypatch.setattr(preprocessing, "_RECORDS_IN_MEMORY", 200)
    assert run(tmp_path, spec=with_text(), workdir="large").fingerprint == before.fingerprint
    monkeypatch.setattr(preprocessing, "_RECORDS_IN_MEMORY", 300)
    run(tmp_path, spec=with_text(), workdir="small")
    assert compressed == [True, False], "of 240 events"


def test_test_events_change_nothing_that_training_sees(tmp_path):
    spec = with_text()
    times = {"validation_from": "2011-04-05", "test_from": "2011-04-10"}
    spec["split"] = {"kind": "temporal", **times}
    test_from = 1302393600
    rows = [(*row[:4], "") for row in random_events(6)]
    changed = [row for row in rows if row[2] < test_from]
    late = START_S + 100 * DAY_S
    changed += [(f"q{number % 12}", "c19", late + number, 5, "") for number in range(30)]
    for name, events in (("a", rows), ("b", changed)):
        write_tables(tmp_path, events)
        run(tmp_path, spec=spec, workdir=name, max_bad_fraction=0.5)
    first, second = (tmp_path / name / "preprocessed" for name in ("a", "b"))
    untouched = (
        "train-*",
        "fresh-*",
        "validation-*",
        "frequencies-*",
        "vocabularies/*",
        "corpus-*",
    )
    assert bytes_of(first, *untouched) == bytes_of(second, *untouched)
    assert statistics(first)["numeric"] == statistics(second)["numeric"]
    assert bytes_of(first, "test-*") != bytes_of(second, "test-*")


def test_a_busy_query_is_bounded(tmp_path):
    rows = [(*row[:4], "") for row in random_events(7)]
    rows.append(("q1", "c1", START_S + 40 * DAY_S, 5, ""))
    busy = [("q1", f"c{number % 19}", START_S + number, 5, "") for number in range(200)]
    write_tables(tmp_path, rows + busy)
    spec = copy.deepcopy(SPEC)
    spec["split"] = {
        "kind": "temporal",
        "validation_from": "2011-04-05",
        "test_from": "2011-04-10",
        "new_pairs_only": False,
    }
    manifest = run(tmp_path, spec=spec, max_history_events=50)
    artifact = tmp_path / "work" / "preprocessed"
    assert manifest.counts["events_without_example"] > 0
    assert manifest.counts["interactions"] == len(rows) + 200
    of_busy = [one for one in examples(artifact, "train") if one["_query_id"] == ["q1"]]
    assert len(of_busy) <= 50
    evaluated = {one["_query_id"][0]: one for one in examples(artifact, "test")}
    earlier = sum(row[0] == "q1" and row[2] < 1302393600 for row in rows) + 200
    assert evaluated["q1"]["_num_events"] == [earlier]


@pytest.mark.parametrize("window", ["before", "leave_one_out"])
def test_what_a_busy_query_keeps_is_what_an_unbounded_one_has(tmp_path, window):
    spec = copy.deepcopy(SPEC)
    spec["query"]["features"] = [
        {"name": "h", "kind": "history", "max_length": 2, "window": window}
    ]
    write_tables(tmp_path, random_events(8))
    run(tmp_path, spec=spec, workdir="all")
    run(tmp_path, spec=spec, workdir="some", max_history_events=12)
    everything = examples(tmp_path / "all" / "preprocessed", "train", spec)
    bounded = examples(tmp_path / "some" / "preprocessed", "train", spec)
    if window == "leave_one_out":  # does not depend on the place: nothing is lost
        assert len(bounded) == len(everything)
    else:
        assert len(bounded) < len(everything)
    for name in ("validation", "test"):
        files = [bytes_of(tmp_path / run / "preprocessed", f"{name}-*") for run in ("all", "some")]
        assert files[0] == files[1]
