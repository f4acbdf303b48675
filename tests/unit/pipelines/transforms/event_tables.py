"""Small tables of events written as text, and the transforms of queries run on them.

A table's first line names its columns; `-` is an empty cell. Times are small integers, so that a
history can be read off the table. Every other name of the transforms stands here once.
"""

import gzip
import tempfile
import textwrap
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from apache_beam import Create, Map
from tensorflow.core.example.example_pb2 import Example

from pipelines.transforms import batches, column_cells, query_examples, query_partition
from pipelines.transforms import sharded_output as output
from pipelines.transforms.beam_job import run_pipeline
from pipelines.transforms.corpus import CountCandidates
from pipelines.transforms.cutoffs import AddSplitTime, SummariseWindows, training_end
from pipelines.transforms.evaluated_queries import FinishEvaluations
from pipelines.transforms.event_records import Event
from pipelines.transforms.example_columns import encode_examples
from pipelines.transforms.queries import BuildQueries
from pipelines.transforms.records import EntityParser, entity_columns, from_event
from tfrs_twotower.data import known_queries
from tfrs_twotower.data.stored_examples import read_training_examples
from tfrs_twotower.specs import SPLITS, TRAIN, VALIDATION, FeatureSpec

POSITIVE = 3
"""Events with a smaller label are not positive."""
BEFORE = {"name": "history", "kind": "history"}
OTHERS = {"name": "history", "kind": "history", "window": "leave_one_out"}
HOUR = {"name": "hour", "kind": "timestamp"}
_KEYS = {
    "query": "_query_id",
    "candidate": "_candidate_id",
    "time": "_timestamp",
    "label": "_label",
    "weight": "_weight",
    "relevant": "_relevant",
    "gain": "_gain",
    "seen": "_seen",
    "events": "_num_events",
}


def spec_of(rule=None, *, features=(BEFORE,), queries=None, **interactions):
    """A spec with these query features; keyword arguments name columns of the interactions."""
    table = {"path": "e.csv", "query_id": "query", "candidate_id": "candidate"}
    table |= {"timestamp": {"column": "time"}, "label": "label"}
    document = {
        "name": "by_hand",
        "interactions": table | interactions,
        "candidates": {"path": "c.csv", "id": "candidate"},
        "query": {"features": list(features)},
        "candidate": {"features": [{"name": "candidate", "kind": "id"}]},
        "relevance": {"min_label": POSITIVE},
        "split": rule or {"kind": "temporal"},
    }
    if queries is not None:
        document["queries"] = {"path": "q.csv", "id": "query"} | queries
    return FeatureSpec.model_validate(document)


def read_table(text):
    """The lines of a table as dicts of texts."""
    names, *lines = [line.split() for line in text.strip().splitlines()]
    return [dict(zip(names, line, strict=True)) for line in lines]


class Placed(query_partition.Partition):
    """Events of one query whose splits are given, and whose records may give it values."""

    def __init__(self, spec, limit, placed, values=None, cutoffs=None):
        self._placed = {event.position: split for split, event in placed}
        events = events_table([event for _, event in placed])
        events = events.append_column(batches.SPLIT_TIME, events["timestamp"])
        own = [one for one in spec.query.features if not from_event(one)]
        schema = batches.entities_schema(own)
        given = () if values is None else [value for value in values if value is not None]
        rows = [("q", 0, "", "", *given)] if values is not None else []
        records = column_cells.rows_as_table(rows, schema)
        super().__init__(spec, limit, events, records, cutoffs)

    def _split(self, events, table):
        return np.array([self._placed[at] for at in events.position.tolist()], np.int64), []


def gather(text, *, order=None):
    """`(split, event)` from the columns split, time, candidate and perhaps label, weight."""
    placed = [
        (SPLITS.index(row["split"]), _placed(position, row))
        for position, row in enumerate(read_table(text), start=1)
    ]
    return placed if order is None else [placed[at] for at in order]


def partition_of(placed, spec=None, *, limit=100, values=None, cutoffs=None):
    """The partition of the events of one query, in any order."""
    return Placed(spec or spec_of(), limit, placed, values, cutoffs)


def _placed(position, row):
    label = float(row.get("label", 5))
    return event_at(
        int(row["time"]), position, row["candidate"], label, float(row.get("weight", 1))
    )


def event_at(time, position, candidate, label=5.0, weight=1.0):
    """One event of a query."""
    return Event("q", candidate, time, label, weight, "", "", position)


def read_raw_examples(directory, spec, pattern="train-*.arrow"):
    """All examples of a directory as dicts of lists, in their order."""
    examples = []
    for batch in read_training_examples(directory, spec, pattern):
        columns = batch["query"] | {
            f"_{name}": values for name, values in batch.items() if name != "query"
        }
        for row in zip(*columns.values(), strict=True):
            examples.append(dict(zip(columns, map(_as_list, row), strict=True)))
    return examples


def _as_list(cell):
    """A cell as a list of values, without padding."""
    if isinstance(cell, np.ndarray):
        return [one.decode() for one in cell if one]
    return [cell.decode() if isinstance(cell, bytes) else cell.item()]


def encoded(table):
    """The serialised examples of a table."""
    return [example for part in encode_examples(table) for example in part.to_pylist()]


def built(placed, spec, split, values=None, *, limit=100):
    """The training (or refit) examples of a query's events, as they are read again."""
    number = SPLITS.index(split)
    partition = partition_of(placed, spec, limit=limit, values=values)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "train-00000-of-00001.arrow"
        with path.open("wb") as stream:
            training = query_examples.training(partition, number)
            written = query_examples.write_training(spec, number, stream, training)
        examples = read_raw_examples(Path(directory), spec)
    assert len(examples) == written
    return examples


def asked(placed, spec, split, *, cutoffs=None, limit=100, values=None):
    """The serialised evaluated query of a split, which has a relevant candidate of its own."""
    number = SPLITS.index(split)
    own = event_at(0, 10**6, "relevant")
    if any(of == number for of, _ in placed):
        own = own._replace(timestamp=max(event.timestamp for of, event in placed if of == number))
    partition = partition_of([*placed, (number, own)], spec, limit=limit, values=values)
    partition.cutoffs = cutoffs
    drafts = query_examples.evaluated(partition, number, np.ones(len(partition.ids), bool))
    return encoded(drafts.drop(["split"]))[0]


def read_example(serialised):
    """A `tf.train.Example` as a dict of lists."""
    found = {}
    for name, feature in Example.FromString(serialised).features.feature.items():
        values = getattr(feature, feature.WhichOneof("kind")).value
        found[name] = [one.decode() if isinstance(one, bytes) else one for one in values]
    return found


def check(serialised, expected):
    """Compares examples, as dicts or serialised, with a table of some of their features.

    The order does not matter.
    """
    wanted = read_table(expected)
    names = expected.strip().splitlines()[0].split()
    found = [
        {name: _as_cell(example[_KEYS.get(name, name)]) for name in names}
        for example in (one if isinstance(one, dict) else read_example(one) for one in serialised)
    ]
    check_rows(found, wanted)


def check_rows(found, wanted):
    """Compares lists of dicts of texts, whatever their order."""
    found, wanted = (sorted(rows, key=lambda row: list(row.items())) for rows in (found, wanted))
    assert found == wanted, f"found\n{_as_text(found)}\nin the place of\n{_as_text(wanted)}"


def _as_cell(values):
    return ",".join(one if isinstance(one, str) else f"{one:g}" for one in values) or "-"


def _as_text(rows):
    lines = [" ".join(rows[0]) if rows else "no row", *(" ".join(row.values()) for row in rows)]
    return textwrap.indent("\n".join(lines), "    ")


def read_events(text):
    """Events from the columns query, candidate, time and perhaps label, weight, split, session."""
    empty = {"split": "-", "session": "-", "label": 5, "weight": 1}
    events = []
    for position, row in enumerate(read_table(text), start=1):
        cells = empty | row
        split, session = (cells[name].replace("-", "") for name in ("split", "session"))
        label, weight = float(cells["label"]), float(cells["weight"])
        query, candidate, time = cells["query"], cells["candidate"], int(cells["time"])
        events.append(Event(query, candidate, time, label, weight, split, session, position))
    return events


def events_table(events):
    """Events as a table."""
    return column_cells.rows_as_table(events, batches.EVENTS)


def entities_table(spec, entities, side="query"):
    """Records as a table."""
    described = spec.queries if side == "query" else spec.candidates
    parse = EntityParser(described, getattr(spec, side).features, side)
    return column_cells.rows_as_table(list(map(parse.row_of, entities)), parse.schema)


def rows_of(parts):
    """The rows of packed tables."""
    return [row for part in parts for row in batches.unpacked([part]).to_pylist()]


def read_queries(spec, text):
    """Records of the queries table; `-` is an empty cell."""
    parse = EntityParser(spec.queries, spec.query.features, "query")
    names = list(dict.fromkeys(entity_columns(spec.queries, spec.query.features, "query")))
    return [
        parse(position, [row[name].replace("-", "") for name in names], [])
        for position, row in enumerate(read_table(text), start=1)
    ]


class Silent:
    """Reports no progress."""

    def progress(self, description, done, total, detail=""):
        pass


_ELEMENTS = defaultdict(list)  # the runner works in this process, so its workers reach it


def _keep(element, name):
    _ELEMENTS[name].append(element)


def run_beam(build):
    """Runs a pipeline; `build` takes its root and names collections, whose elements come back."""
    _ELEMENTS.clear()

    def keep_all(root):
        for name, collection in build(root).items():
            _ = collection | f"Keep_{name}" >> Map(_keep, name)

    run_pipeline(keep_all, (), Silent(), "by hand")
    return defaultdict(list, _ELEMENTS)


def files_in(directory, spec):
    """The files of all outputs about queries, in one shard."""
    schemas = {
        "interactions": output.INTERACTIONS_SCHEMA,
        "queries": known_queries.schema_of(spec.query.features),
    }
    outputs = {
        name: output.Output(partial(output.write_parquet, schema), ".parquet", 1, of_table=True)
        for name, schema in schemas.items()
    }
    for name in ("validation", "test"):
        outputs[name] = output.Output(output.write_tfrecords, ".tfrecord.gz", 1, of_table=True)
    for name, split in (("train", TRAIN), ("fresh", VALIDATION)):
        write = partial(query_examples.write_training, spec, split)
        outputs[name] = output.Output(write, ".arrow", 1)
    return output.ShardFiles(str(directory), outputs, "numbers")


def read_files(directory, spec):
    """What `files_in` wrote: examples and rows of tables, by the outputs' names."""
    found = {}
    for path in Path(directory).glob("*-00000-of-00001.*"):
        name = path.name.split("-")[0]
        if path.suffix == ".parquet":
            found[name] = pq.read_table(path).to_pylist()
        elif path.suffix == ".arrow":
            found[name] = read_raw_examples(Path(directory), spec, f"{name}-*.arrow")
        else:
            with gzip.open(path) as stream:
                found[name] = list(output.read_frames(stream))
    return found


_OUTPUTS = ("evaluations", "trained", "bad", "counts")


def run_queries(spec, events, *, queries=None, cutoffs=None, limit=100, recent_days=1.0):
    """What the job makes of events and queries, from the split time to the evaluated queries.

    `train` and `fresh` are examples as they are read again, `validation` and `test` serialised
    ones, and the other files rows.
    """
    # Some batches, as if several workers had read them.
    parts = [batches.packed(events_table(events[at::3])) for at in range(3) if events[at::3]]

    def build(root, directory):
        files = files_in(directory, spec)
        timed = root | "Events" >> Create(parts) | AddSplitTime(bool(spec.interactions.session), 1)
        tables = {"events": timed}
        if queries is not None:
            own = batches.packed(entities_table(spec, queries))
            tables["queries"] = root | "Queries" >> Create([own])
        if cutoffs is not None:
            tables["cutoffs"] = root | "Cutoffs" >> Create([cutoffs])
        found = tables | BuildQueries(spec, 1, limit, files)
        windows = found.windows | SummariseWindows()
        cutoff = None if cutoffs is None else cutoffs.validation_from
        train_end = windows | "TrainEnd" >> Map(training_end, cutoff)
        tallies = (found.tallies, train_end) | CountCandidates(recent_days)
        known_only = spec.split.known_candidates_only
        evaluated = (found.evaluations, tallies) | FinishEvaluations(known_only, 1, files)
        outputs = {name: getattr(found, name) for name in _OUTPUTS}
        more = {"evaluated_counts": evaluated.counts, "written": evaluated.written}
        return outputs | more | {"windows": windows, "tallies": tallies}

    with tempfile.TemporaryDirectory() as directory:
        found = run_beam(partial(build, directory=directory))
        found |= read_files(directory, spec)
    counts = defaultdict(int)
    for name, number in found["counts"] + found["evaluated_counts"]:
        counts[name] += number
    found["trained"] = rows_of(found["trained"])
    tallies = rows_of(part for _, part in found["tallies"])
    names = ("events", "positives", "recent")
    return found | {
        "counts": {name: number for name, number in counts.items() if number},
        "tallies": {row["candidate_id"]: tuple(row[name] for name in names) for row in tallies},
    }


def check_splits(found, expected):
    """Compares the split of every event with a table of query, candidate, time and split."""
    rows = [
        {
            "query": row["query_id"],
            "candidate": row["candidate_id"],
            "time": str(row["timestamp"]),
            "split": row["split"],
        }
        for row in found["interactions"]
    ]
    names = expected.strip().splitlines()[0].split()
    check_rows([{name: row[name] for name in names} for row in rows], read_table(expected))
