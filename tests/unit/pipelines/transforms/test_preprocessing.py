"""The whole job on small tables: what is learned by hand, and what must not leak for any table."""

import csv
import gzip
import json
import random

import pyarrow.parquet as pq
import pytest

from pipelines.transforms.beam_job import run_pipeline
from pipelines.transforms.event_records import interaction_columns
from pipelines.transforms.preprocessing import SUMMARY, Preprocess
from pipelines.transforms.records import entity_columns
from pipelines.transforms.sharded_output import read_frames
from pipelines.transforms.table_sources import find_source
from tests.unit.pipelines.transforms.event_tables import (
    BEFORE,
    OTHERS,
    Silent,
    check,
    read_raw_examples,
    spec_of,
)
from tfrs_twotower.config import PreprocessConfig
from tfrs_twotower.specs import FeatureSpec

DAY_S = 86_400
START_S = 1_293_840_000  # 2011-01-01, day 0
TEMPORAL = {"kind": "temporal", "validation_from": "2011-01-08", "test_from": "2011-01-11"}
VALIDATION_DAY, TEST_DAY = 7, 10
LAST = {"kind": "per_query_last", "test": 4, "validation": 3}
QUERIES = "query,colour,age\nq1,red,10\nq2,blue,20\nq3,green,90\nq4,red,40"
CANDIDATES = """candidate,brand,price,title
a,x,1,alpha
b,y,3,beta
c,z,100,gamma
d,x,200,delta
""" + "\n".join(f"{name},w,300,epsilon" for name in "efghijklmnop")
LEARNED = ("corpus", "frequencies", "vocabularies", f"{SUMMARY}/words", f"{SUMMARY}/numeric")
OF_TRAINING = ("train", *LEARNED)
OF_VALIDATION = (*OF_TRAINING, "fresh-", "fresh_ids/candidate", "validation")


def spec_with(split):
    features = [
        {"name": "own", "kind": "id", "column": "query"},
        {"name": "colour", "kind": "categorical"},
        {"name": "age", "kind": "numeric"},
        {"name": "hour", "kind": "timestamp"},
        BEFORE | {"max_length": 3},
        OTHERS | {"max_length": 3, "name": "others"},
    ]
    session = {"session": "session"} if split["kind"] == "temporal" else {}
    spec = spec_of(split, features=features, queries={}, **session)
    document = spec.model_dump(mode="json")
    document["candidate"]["features"] += [
        {"name": "brand", "kind": "categorical"},
        {"name": "price", "kind": "numeric", "transform": "bucketise", "num_buckets": 2},
        {"name": "title", "kind": "text", "vocabulary_size": 64},
    ]
    return FeatureSpec.model_validate(document)


@pytest.fixture(scope="module")
def preprocess(tmp_path_factory):
    """Runs the job on rows `query, candidate, second, label, session`; the files by their names."""

    def run(spec, rows):
        data, output = tmp_path_factory.mktemp("tables"), tmp_path_factory.mktemp("files")
        (data / "q.csv").write_text(QUERIES)
        (data / "c.csv").write_text(CANDIDATES)
        with (data / "e.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("query", "candidate", "time", "label", "session"))
            writer.writerows(rows)
        tables = {
            "interactions": (spec.interactions, interaction_columns(spec.interactions)),
            "queries": (spec.queries, entity_columns(spec.queries, spec.query.features, "query")),
            "candidates": (
                spec.candidates,
                entity_columns(spec.candidates, spec.candidate.features, "candidate"),
            ),
        }
        sources = {
            name: find_source(name, table, columns, data)
            for name, (table, columns) in tables.items()
        }
        job = Preprocess(spec, PreprocessConfig(num_shards=1, recent_days=5), sources, str(output))
        run_pipeline(lambda root: root | job, (), Silent(), "preprocess")
        return {path.relative_to(output).as_posix(): path for path in output.rglob("*.*")}

    return run


def test_no_word_is_counted_for_word_pieces_that_are_there():
    spec = spec_with(TEMPORAL)
    words = f"{SUMMARY}/words/title"
    for kept, is_written in (([], True), (["title"], False), (["another"], True)):
        job = Preprocess(spec, PreprocessConfig(), {}, "out", kept)
        assert (words in job._outputs()) == is_written


def contents(files, prefixes):
    """The bytes of the files whose names begin so."""
    chosen = {
        name: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for name, path in files.items()
        if path.is_file() and name.startswith(tuple(prefixes))
    }
    assert len(chosen) >= len(prefixes)
    assert all(chosen.values()), "an empty file compares nothing"
    return chosen


def trained_on(files, spec):
    """The training examples, as they are read again."""
    return read_raw_examples(files["train-00000-of-00001.arrow"].parent, spec)


def examples_of(files, name):
    """The serialised examples of an output."""
    with gzip.open(files[f"{name}-00000-of-00001.tfrecord.gz"]) as stream:
        return list(read_frames(stream))


def day(number, seconds=0):
    return START_S + number * DAY_S + seconds


def test_statistics_vocabularies_and_frequencies_come_from_the_training_window(preprocess):
    rows = [
        ("q1", "a", day(1), 5, ""),
        ("q1", "b", day(2), 1, "s"),
        ("q2", "a", day(2), 4, ""),
        ("q2", "b", day(7), 1, "s"),  # of a session that began in the training window
        ("q2", "c", day(7), 5, ""),  # the first second of validation
        ("q3", "d", day(8), 5, ""),
        ("q3", "a", day(12), 5, ""),
        ("q1", "d", day(12), 5, ""),
    ]
    files = preprocess(spec_with(TEMPORAL), rows)

    def lines(name):
        return files[name].read_text().splitlines()

    frequencies = pq.read_table(files["frequencies-00000-of-00001.parquet"]).to_pylist()
    assert [tuple(row.values()) for row in frequencies] == [
        ("a", 2, 1),  # recent: five days before day 7, from the start of day 2 on
        ("b", 0, 0),
        ("c", 0, 0),
        ("d", 0, 0),
        *((name, 0, 0) for name in "efghijklmnop"),
    ]
    assert lines("vocabularies/candidate.txt") == ["a", "b"]
    assert lines("vocabularies/brand.txt") == ["x", "y"]
    assert lines("vocabularies/own.txt") == ["q1", "q2"]
    assert lines("vocabularies/colour.txt") == ["blue", "red"]  # each has two events
    # What a refit learns from as well; q1 and a are known, colours and brands are no ids.
    assert lines("fresh_ids/candidate.txt") == ["c", "d"]
    assert lines("fresh_ids/own.txt") == ["q3"]
    assert not any(name.startswith("fresh_ids/brand") for name in files)
    windows = json.loads(files[f"{SUMMARY}/windows.jsonl"].read_text())[0]
    assert windows["0"] == [4, 2, day(1), day(7)]
    assert windows["1"] == [2, 2, day(7), day(8)]
    words = pq.read_table(files[f"{SUMMARY}/words/title.parquet"]).to_pydict()
    assert words == {"value": ["alpha", "beta"], "count": [1, 1]}
    numeric = dict(json.loads(line)[0] for line in lines(f"{SUMMARY}/numeric.jsonl"))
    assert numeric["query.age"] | {"count": 2, "mean": 15, "max": 20} == numeric["query.age"]
    price = numeric["candidate.price"]
    assert (price["count"], price["max"], price["boundaries"]) == (2, 3, [2])


def test_events_that_are_dropped_are_neither_seen_nor_history_nor_counted(preprocess):
    document = spec_with({"kind": "per_query_last", "test": 1, "validation": 1}).model_dump()
    document["relevance"]["drop_others"] = True
    rows = [
        ("q1", "a", day(1), 5, ""),
        ("q1", "b", day(2), 2, ""),
        ("q1", "c", day(3), 3, ""),
        ("q1", "d", day(4), 5, ""),
        ("q1", "e", day(5), 1, ""),
    ]
    spec = FeatureSpec.model_validate(document)
    files = preprocess(spec, rows)
    check(trained_on(files, spec), "candidate history\na -")
    check(examples_of(files, "validation"), "relevant history seen events\nc a a 1")
    check(examples_of(files, "test"), "relevant history seen events\nd c,a a,c 2")


def spec_of_numbers():
    """A column of numbers, which is no time, orders the events of a query."""
    document = spec_with({"kind": "per_query_last", "test": 1, "validation": 1}).model_dump()
    document["interactions"]["timestamp"] = {"column": "time", "unit": "order"}
    document["query"]["features"] = [
        feature for feature in document["query"]["features"] if feature["name"] != "hour"
    ]
    return FeatureSpec.model_validate(document)


def test_a_column_of_positions_is_followed_and_is_no_time(preprocess):
    in_order = [("q1", name, place, 5, "") for place, name in enumerate("abcde")]
    in_order += [("q2", name, place, 5, "") for place, name in enumerate("edcba")]
    rows = [in_order[at] for at in (7, 3, 1, 9, 0, 4, 8, 2, 5, 6)]
    files = preprocess(spec_of_numbers(), rows)
    check(
        trained_on(files, spec_of_numbers()),
        """
        query candidate history
        q1    a         -
        q1    b         a
        q1    c         b,a
        q2    e         -
        q2    d         e
        q2    c         d,e
        """,
    )
    check(examples_of(files, "validation"), "query relevant history\nq1 d c,b,a\nq2 b c,d,e")
    check(examples_of(files, "test"), "query relevant history\nq1 e d,c,b\nq2 a b,c,d")


def test_events_of_one_number_do_not_precede_each_other(preprocess):
    numbers = {"a": 0, "b": 1, "c": 1, "d": 2, "e": 3}
    rows = [("q1", name, number, 5, "") for name, number in numbers.items()]
    files = preprocess(spec_of_numbers(), rows)
    check(trained_on(files, spec_of_numbers()), "candidate history\na -\nb a\nc a")


def random_rows(seed, number=40):
    """Rows over 14 days with equal times, repeats and sessions that straddle the cut-offs."""
    dice = random.Random(seed)
    rows = []
    for _ in range(number):
        half_day = dice.randrange(28)
        session = f"s{half_day // 5}" if dice.random() < 0.3 else ""
        at = day(0, half_day * DAY_S // 2)
        query, candidate = f"q{dice.randrange(1, 4)}", dice.choice("abcdefghijkl")
        rows.append((query, candidate, at, dice.choice([1, 5]), session))
    return rows


def later_rows(dice, since):
    """Rows from a day on, of known and unknown queries and candidates, in sessions of their own."""
    return [
        (
            dice.choice(["q1", "q2", "q3", "q4", "stranger"]),
            dice.choice([*"abcdefghijklmnop", "nowhere"]),
            day(since, dice.randrange(10) * DAY_S // 2),
            dice.choice([1, 5]),
            dice.choice(["", f"late{since}"]),
        )
        for _ in range(dice.randrange(1, 20))
    ]


@pytest.fixture(scope="module")
def temporal(preprocess):
    return preprocess(spec_with(TEMPORAL), random_rows(1))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("since", "untouched"),
    [(VALIDATION_DAY, OF_TRAINING), (TEST_DAY, OF_VALIDATION)],
    ids=["from_validation", "from_test"],
)
def test_later_events_change_no_byte_of_what_is_earlier(
    preprocess, temporal, since, untouched, seed
):
    dice = random.Random(seed)
    rows = [*later_rows(dice, since), *random_rows(1), *later_rows(dice, since)]
    files = preprocess(spec_with(TEMPORAL), rows)
    assert contents(files, untouched) == contents(temporal, untouched)
    assert contents(files, ["test"]) != contents(temporal, ["test"])


@pytest.fixture(scope="module")
def last(preprocess):
    return preprocess(spec_with(LAST), random_rows(2))


@pytest.mark.parametrize(
    ("from_end", "untouched"), [(4, OF_VALIDATION), (7, OF_TRAINING)], ids=["test", "validation"]
)
def test_what_the_last_events_of_a_query_are_changes_nothing_before_them(
    preprocess, last, from_end, untouched
):
    rows, dice = random_rows(2), random.Random(from_end)
    of_query = {}
    for place, (query, _, at, _, _) in enumerate(rows):
        of_query.setdefault(query, []).append((at, place))
    assert min(map(len, of_query.values())) > 7
    for events in of_query.values():
        for at, place in sorted(events)[-from_end:]:
            rows[place] = (
                rows[place][0],
                dice.choice("abcdefghijklmnop"),
                at,
                dice.choice([1, 5]),
                "",
            )
    files = preprocess(spec_with(LAST), rows)
    assert contents(files, untouched) == contents(last, untouched)
    assert contents(files, ["test"]) != contents(last, ["test"])
