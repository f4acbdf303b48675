"""Shards of examples, against the definition of a history and by hand."""

import io
import random

import numpy as np
import pyarrow as pa
import pytest

from tests.fixtures.tiny import tiny_spec
from tests.reference.preprocessing import training_examples
from tfrs_twotower.data.example_shards import EVENT_COLUMNS, queries_schema, write_examples
from tfrs_twotower.data.histories import Histories, backwards, lengths_to_scan
from tfrs_twotower.data.stored_examples import ExampleShard, open_shards, read_training_examples
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.specs import SPLITS, TRAIN, VALIDATION, FeatureSpec

FILE = "train-00000-of-00001.arrow"
RULES = [
    {"name": f"{window}{positives_only:d}", "window": window, "positives_only": positives_only}
    for window in ("before", "leave_one_out")
    for positives_only in (False, True)
]


def spec_with(features, **split):
    document = tiny_spec().model_dump(mode="json")
    document["query"]["features"] = features
    document["split"] |= split
    return FeatureSpec.model_validate(document)


def histories(length, extra=()):
    return [{"kind": "history", "max_length": length} | rule for rule in [*RULES, *extra]]


def random_events(seed, number=300, queries=5, candidates=9, times=40):
    """Events with repeats and equal times, by query and then in the order of time."""
    dice = random.Random(seed)
    events = []
    for position in range(number):
        label = dice.randrange(1, 6)
        events.append(
            {
                "query_id": f"q{dice.randrange(queries)}",
                "candidate_id": f"c{dice.randrange(candidates)}",
                "timestamp": dice.randrange(times),
                "position": position,
                "label": label,
                "positive": label > 2,
                "split": "train" if dice.random() < 0.7 else "validation",
            }
        )
    return sorted(events, key=lambda e: (e["query_id"], e["timestamp"], e["position"]))


def write(directory, spec, events, split=TRAIN, ids=None):
    """Writes the shard of these events; returns the number of examples."""
    ids = sorted({event["query_id"] for event in events}) if ids is None else ids
    shown = [event for event in events if SPLITS.index(event["split"]) <= split]
    own = [event["split"] == SPLITS[split] for event in shown]
    columns = {
        "query": [ids.index(event["query_id"]) for event in shown],
        "moment": [event["timestamp"] for event in shown],
        "weight": [1.0] * len(shown),
        "own": own,
        "kept": [event.get("kept", True) for event in shown],
    }
    for name in ("candidate_id", "timestamp", "label", "positive"):
        columns[name] = [event[name] for event in shown]
    table = pa.table({name: columns[name] for name in EVENT_COLUMNS.names}, EVENT_COLUMNS)
    queries = pa.table({"_query_id": ids}, queries_schema(spec.query.features))
    with (directory / FILE).open("wb") as stream:
        return write_examples(stream, spec, split, queries, table)


def read(directory, spec, **options):
    """The raw examples as (query, candidate, time, a tuple for each history)."""
    found = []
    for batch in read_training_examples(directory, spec, **options):
        keys = zip(batch["query_id"], batch["candidate_id"], batch["timestamp"], strict=True)
        for row, (query, candidate, time) in enumerate(keys):
            cells = [
                tuple(one.decode() for one in batch["query"][feature.name][row] if one)
                for feature in spec.query.features
            ]
            found.append((query.decode(), candidate.decode(), int(time), *cells))
    return found


@pytest.mark.parametrize("length", [1, 3, 50])
@pytest.mark.parametrize("split", [TRAIN, VALIDATION])
@pytest.mark.parametrize("new_pairs_only", [False, True])
def test_histories_agree_with_the_definition(tmp_path, length, split, new_pairs_only):
    spec = spec_with(histories(length), new_pairs_only=new_pairs_only)
    for seed in range(3):
        events = random_events(seed)
        wanted = [
            training_examples(
                events,
                SPLITS[split],
                length=length,
                window=rule["window"],
                positives_only=rule["positives_only"],
                new_pairs_only=new_pairs_only,
            )
            for rule in RULES
        ]
        rows = [(*key[:3], *(of_rule[key] for of_rule in wanted)) for key in wanted[0]]
        assert write(tmp_path, spec, events, split) == len(rows)
        found = read(tmp_path, spec)
        assert sorted(found) == sorted(rows)
        assert [row[2] for row in found] == sorted(row[2] for row in rows)
        assert read(tmp_path, spec, batch_size=7) == found


def test_histories_of_one_rule_share_their_events_whatever_their_lengths(tmp_path):
    short = {"name": "short", "window": "leave_one_out", "positives_only": True, "max_length": 2}
    spec = spec_with(histories(4, [short]), new_pairs_only=False)
    write(tmp_path, spec, random_events(1))
    for *_, longer, shorter in read(tmp_path, spec):
        assert shorter == longer[:2]
    (shard,) = open_shards(tmp_path, spec, FILE)
    assert "end:short" not in shard.fields


def test_the_order_of_queries_and_other_partitions_change_no_byte(tmp_path):
    spec = spec_with(histories(4))
    events = random_events(2)
    ids = sorted({event["query_id"] for event in events})
    write(tmp_path, spec, events, ids=ids)
    expected = (tmp_path / FILE).read_bytes()
    write(tmp_path, spec, events[::-1][::-1], ids=["idle", *ids[::-1]])
    assert (tmp_path / FILE).read_bytes() == expected


def test_pointers_by_hand(tmp_path):
    spec = spec_with([{"name": "h", "kind": "history", "max_length": 2}], new_pairs_only=False)
    events = [
        {"query_id": "q", "candidate_id": one, "timestamp": time, "label": 5, "positive": True}
        | {"split": "train"}
        for one, time in (("a", 1), ("b", 2), ("a", 3), ("a", 3), ("c", 4))
    ]
    assert write(tmp_path, spec, events) == 5
    (shard,) = open_shards(tmp_path, spec, FILE)
    assert shard.example_values("end:h").tolist() == [0, 1, 2, 2, 4]
    # Of the four events before c, a stands at the last and b at the second.
    assert shard.example_values("length:h").tolist() == [0, 1, 2, 2, 3]
    assert shard.until_repeat("h").tolist() == [2, 0, 1, 0, 0]
    assert read(tmp_path, spec)[-1] == ("q", "c", 4, ("a", "b"))


def test_a_partition_without_an_example_is_an_empty_shard(tmp_path):
    spec = spec_with(histories(3))
    assert write(tmp_path, spec, []) == 0
    assert read(tmp_path, spec) == []


@pytest.mark.parametrize("most", [1, 4, 40])
def test_as_many_events_are_read_as_hold_the_history(most):
    """Scans of growing windows find the shortest one, also when few fit in memory at once."""
    dice = np.random.default_rng(most)
    candidates = np.where(dice.random(3000) < 0.9, 0, dice.integers(1, 60, 3000))
    until = np.zeros(3000, np.int32)
    latest = {}
    for place, candidate in enumerate(candidates.tolist()):
        if candidate in latest:
            until[latest[candidate]] = place - latest[candidate]
        latest[candidate] = place
    ends = np.arange(0, 3001, 50)
    lengths = lengths_to_scan(until, np.zeros_like(ends), ends, most)
    for end, length in zip(ends.tolist(), lengths.tolist(), strict=True):
        distinct = len(set(candidates[end - length : end].tolist()))
        every = len(set(candidates[:end].tolist()))
        assert distinct == min(most, every)
        if every > most:
            assert len(set(candidates[end - length + 1 : end].tolist())) < most


def test_events_backwards():
    events, owners, ages = backwards(np.array([3, 9, 5]), np.array([2, 0, 3]))
    assert events.tolist() == [2, 1, 4, 3, 2]
    assert owners.tolist() == [0, 0, 2, 2, 2]
    assert ages.tolist() == [0, 1, 0, 1, 2]


def test_tokens_without_repeats_equal_those_of_the_general_way():
    dice = np.random.default_rng(0)
    events = dice.integers(0, 9, 30)
    ends = dice.integers(0, 31, 12)
    lengths = np.minimum(ends, 5).astype(np.uint8)
    tokens = np.arange(2, 11, dtype=np.int32)
    plain = Histories(events, None, ends, lengths, None, tokens, 5)
    general = Histories(events, np.zeros(30, np.int32), ends, lengths, None, tokens, 5)
    assert plain.shape == (12, 5)
    assert (plain[:] == general[:]).all()
    assert (plain[np.array([7, 7, 0])] == np.asarray(plain)[[7, 7, 0]]).all()
    first = plain[:][0]
    expected = tokens[events[max(ends[0] - 5, 0) : ends[0]]][::-1]
    assert first[: len(expected)].tolist() == expected.tolist()
    assert not first[len(expected) :].any()


@pytest.mark.parametrize("repeats", [True, False])
def test_narrower_histories_are_the_most_recent_events(repeats):
    dice = np.random.default_rng(1)
    events, ends = dice.integers(0, 9, 30), dice.integers(0, 31, 12)
    lengths = np.minimum(ends, 5).astype(np.uint8)
    until = np.zeros(30, np.int32) if repeats else None
    history = Histories(events, until, ends, lengths, None, np.arange(2, 11, dtype=np.int32), 5)
    columns = {"query_ids": ["a"], "query_rows": ends, "candidate_rows": ends}
    table = ExampleTable(
        {"history": history, "age": ends}, **columns, timestamps=ends, weights=ends
    )
    narrow = table.with_histories_of(3).tokens
    np.testing.assert_array_equal(narrow["history"][:], history[:][:, :3])
    assert narrow["age"] is ends
    assert table.with_histories_of(None) is table
    assert table.with_histories_of(9).tokens["history"].shape == (12, 5)


@pytest.mark.parametrize("damage", ["cut", "nothing", "other", "renamed"])
def test_a_file_that_is_no_shard_of_the_spec_is_named(tmp_path, damage):
    spec = spec_with(histories(3))
    write(tmp_path, spec, random_events(0))
    path = tmp_path / FILE
    content = path.read_bytes()
    if damage == "other":
        sink = io.BytesIO()
        with pa.ipc.new_file(sink, pa.schema([("a", pa.int32())])) as writer:
            writer.write_batch(pa.RecordBatch.from_pydict({"a": pa.array([1], pa.int32())}))
        content = sink.getvalue()
    path.write_bytes({"cut": content[:-200], "nothing": b""}.get(damage, content))
    if damage == "renamed":
        spec = spec_with([{"name": "tags", "kind": "multi_categorical"}])
    with pytest.raises(CorruptArtifact, match=f"{FILE}.*Run `twotower preprocess` again"):
        ExampleShard(path, spec.query.features)
